//! PINGs that find dead peers.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use h2::{Ping, PingPong};

use crate::{Config, Error};

/// Ends with the error that makes the connection count as dead, and never otherwise.
pub(crate) type Keepalive = Pin<Box<dyn Future<Output = Error> + Send>>;

/// PINGs at the configured interval; without a `PingPong` (taken elsewhere) it just waits.
pub(crate) fn keepalive(pings: Option<PingPong>, config: &Config) -> Keepalive {
    let (interval, timeout) = (config.ping_interval, config.ping_timeout);
    match pings {
        Some(pings) => Box::pin(ping(pings, interval, timeout)),
        None => Box::pin(std::future::pending()),
    }
}

async fn ping(mut pings: PingPong, interval: Duration, timeout: Duration) -> Error {
    loop {
        tokio::time::sleep(interval).await;
        match tokio::time::timeout(timeout, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return Error::PingTimeout,
        }
    }
}
