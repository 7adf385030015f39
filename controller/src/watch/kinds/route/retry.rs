//! When a request is tried again.

use ambit_proto::ambit::{Retry, RetryOn};
use serde::Deserialize;

use super::Problem;
use crate::watch::kinds::duration;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRetry {
    codes: Vec<u32>,
    attempts: Option<u32>,
    backoff: Option<String>,
}

/// Where nothing else is said.
const ATTEMPTS: u32 = 2;
const MAX_ATTEMPTS: u32 = 100;

/// Whatever else is said, a request that was not answered at all is tried again.
pub(super) fn retry(raw: RawRetry) -> Result<Retry, Problem> {
    for (i, code) in raw.codes.iter().enumerate() {
        if !(400..=599).contains(code) {
            let message = format!("{code} is not between 400 and 599");
            return Err(Problem::new(format!("retry.codes[{i}]"), message));
        }
    }
    super::bounded("retry.codes", raw.codes.len(), 200)?;
    let attempts = raw.attempts.unwrap_or(ATTEMPTS);
    if attempts > MAX_ATTEMPTS {
        let message = format!("{attempts} are too many; {MAX_ATTEMPTS} are the most");
        return Err(Problem::new("retry.attempts", message));
    }
    let backoff = raw.backoff.map(|text| duration::milliseconds("retry.backoff", &text));
    Ok(Retry {
        attempts,
        on: vec![RetryOn::ConnectFailure.into(), RetryOn::Reset.into()],
        codes: raw.codes,
        backoff: backoff.transpose()?.unwrap_or_default(),
        ..Retry::default()
    })
}
