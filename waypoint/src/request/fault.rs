//! Trouble that a rule makes on purpose.

use ambit_telemetry::RequestFlag;
use http::StatusCode;
use tokio::time::sleep;

use super::answer::Answer;
use super::exchange::Exchange;
use crate::rules::{Abort, Action};

/// Holds the request up, or ends it, as its rule says.
///
/// # Errors
/// The answer that is given instead of sending the request on.
pub(super) async fn inject(exchange: &mut Exchange, action: Option<&Action>) -> Result<(), Answer> {
    let Some(fault) = action.and_then(|action| action.fault.as_ref()) else { return Ok(()) };
    let (delay, abort) = {
        let mut rng = rand::rng();
        (fault.delay(&mut rng), fault.abort(&mut rng))
    };
    if let Some(delay) = delay {
        exchange.flag = RequestFlag::FaultDelay;
        sleep(delay).await;
    }
    let answer = |status| Answer::new(status, RequestFlag::FaultAbort, "fault filter abort");
    match abort {
        None => Ok(()),
        Some(Abort::Http(status)) => Err(answer(status)),
        Some(Abort::Grpc(status)) => Err(answer(StatusCode::OK).with_grpc_status(status)),
    }
}
