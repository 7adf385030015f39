//! When requests are tried again, in Envoy's words.

use ambit_proto::ambit::{Retry, RetryOn};
use serde::Deserialize;

use crate::watch::kinds::{Problem, duration};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawRetries {
    attempts: Option<u32>,
    per_try_timeout: Option<String>,
    retry_on: Option<String>,
    backoff: Option<String>,
}

/// What counts where nothing else is said.
const ATTEMPTS: u32 = 2;
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,503";
const MAX_ATTEMPTS: u32 = 100;

/// `None` where a rule says that nothing is tried again. Words that nobody knows are added to `remarks`.
pub(super) fn retry(
    raw: Option<RawRetries>,
    remarks: &mut Vec<Problem>,
) -> Result<Option<Retry>, Problem> {
    let raw = raw.unwrap_or_default();
    let attempts = raw.attempts.unwrap_or(ATTEMPTS);
    if attempts > MAX_ATTEMPTS {
        let message = format!("{attempts} are too many; {MAX_ATTEMPTS} are the most");
        return Err(Problem::new("retries.attempts", message));
    }
    let time = |field: &str, text: Option<String>| {
        text.map(|text| duration::milliseconds(field, &text)).transpose()
    };
    let mut retry = Retry {
        attempts,
        per_try_timeout: time("retries.perTryTimeout", raw.per_try_timeout)?.filter(|t| *t > 0),
        backoff: time("retries.backoff", raw.backoff)?.unwrap_or_default(),
        ..Retry::default()
    };
    let text = raw.retry_on.filter(|text| !text.is_empty());
    for word in text.as_deref().unwrap_or(RETRY_ON).split(',').map(str::trim) {
        if !add(&mut retry, word) {
            remarks.push(Problem::remark("retries.retryOn", format!("{word:?} is not enforced")));
        }
    }
    Ok((attempts > 0).then_some(retry))
}

/// Adds what `word` stands for; false where nobody knows it.
fn add(retry: &mut Retry, word: &str) -> bool {
    let on: &[RetryOn] = match word {
        "5xx" => &[RetryOn::ServerError, RetryOn::Reset, RetryOn::ConnectFailure],
        "gateway-error" => &[RetryOn::GatewayError],
        "reset" => &[RetryOn::Reset],
        "connect-failure" | "refused-stream" => &[RetryOn::ConnectFailure],
        "retriable-4xx" => &[RetryOn::Retriable4xx],
        // The codes stand beside it.
        "retriable-status-codes" => &[],
        "cancelled" | "deadline-exceeded" | "resource-exhausted" | "internal" | "unavailable" => {
            retry.grpc_codes.push(match word {
                "cancelled" => 1,
                "deadline-exceeded" => 4,
                "resource-exhausted" => 8,
                "internal" => 13,
                _ => 14,
            });
            &[]
        }
        _ => match word.parse() {
            Ok(code @ 100..=599) => {
                retry.codes.push(code);
                &[]
            }
            _ => return false,
        },
    };
    let new = on.iter().map(|on| i32::from(*on));
    let new: Vec<i32> = new.filter(|on| !retry.on.contains(on)).collect();
    retry.on.extend(new);
    true
}
