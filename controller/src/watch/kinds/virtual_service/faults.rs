//! Requests that are held up or refused on purpose.

use ambit_proto::ambit::{Abort, Delay, Fault, abort};
use serde::Deserialize;

use super::actions::{RawPercent, share};
use crate::watch::kinds::{Problem, duration};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawFault {
    delay: Option<RawDelay>,
    abort: Option<RawAbort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDelay {
    fixed_delay: String,
    percentage: Option<RawPercent>,
    percent: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAbort {
    http_status: Option<u32>,
    grpc_status: Option<String>,
    percentage: Option<RawPercent>,
}

pub(super) fn fault(raw: RawFault) -> Result<Fault, Problem> {
    let delay = raw.delay.map(|raw| {
        let percent = raw.percentage.map(|p| p.value).or(raw.percent).unwrap_or(100.0);
        let duration = duration::milliseconds("fault.delay.fixedDelay", &raw.fixed_delay)?;
        Ok(Delay { share: share(percent), duration })
    });
    let abort = raw.abort.map(|raw| {
        let kind = match (raw.http_status, raw.grpc_status.as_deref().map(grpc_code)) {
            (Some(status @ 200..=599), _) => abort::Kind::HttpStatus(status),
            (None, Some(Some(code))) => abort::Kind::GrpcStatus(code),
            _ => return Err(Problem::new("fault.abort", "needs httpStatus or grpcStatus")),
        };
        let percent = raw.percentage.map_or(100.0, |p| p.value);
        Ok(Abort { share: share(percent), kind: Some(kind) })
    });
    Ok(Fault { delay: delay.transpose()?, abort: abort.transpose()? })
}

fn grpc_code(name: &str) -> Option<u32> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let place = NAMES.iter().position(|known| *known == name)?;
    u32::try_from(place).ok()
}
