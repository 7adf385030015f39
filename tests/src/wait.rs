//! Waiting for conditions instead of for time.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long anything may take that should be quick; generous, as test machines are busy.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Calls `check` until it is content.
///
/// # Panics
/// With the last complaint, when [`DEADLINE`] has passed.
pub async fn eventually<T, F>(check: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    eventually_within(DEADLINE, check).await
}

/// Calls `check` until it is content, for what may take longer than others.
///
/// # Panics
/// With the last complaint, when `deadline` has passed.
pub async fn eventually_within<T, F>(deadline: Duration, mut check: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + deadline;
    loop {
        match check().await {
            Ok(value) => return value,
            Err(complaint) if Instant::now() >= end => {
                panic!("not within {deadline:?}: {complaint}")
            }
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Waits for `future`, but not for ever.
///
/// # Panics
/// When [`DEADLINE`] has passed.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("it should not take longer than {DEADLINE:?}"),
    }
}
