//! Signals end a process, one reason each. A process of its own, because signals reach all of it.

use std::process::{Command, id};
use std::time::Duration;

use ambit_lifecycle::{Shutdown, ShutdownReason};
use tokio::time::timeout;

#[tokio::test]
async fn signals_are_told_apart() {
    let mut shutdown = Shutdown::install().unwrap();
    for (signal, reason) in [
        ("-TERM", ShutdownReason::Terminated),
        ("-INT", ShutdownReason::Interrupted),
        ("-TERM", ShutdownReason::Terminated),
    ] {
        let status = Command::new("kill").args([signal, &id().to_string()]).status().unwrap();
        assert!(status.success());
        let seen = timeout(Duration::from_secs(10), shutdown.wait()).await;
        assert_eq!(seen, Ok(reason));
    }
}
