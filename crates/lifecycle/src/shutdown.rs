//! What ends the process: SIGTERM, SIGINT, or a request.

use std::fmt;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Waits for the process to be told to end.
#[derive(Debug)]
pub struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
    requested: watch::Receiver<()>,
    trigger: ShutdownTrigger,
}

/// Ends the process from within.
#[derive(Clone, Debug)]
pub struct ShutdownTrigger(watch::Sender<()>);

/// Who wanted the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// SIGTERM.
    Terminated,
    /// SIGINT.
    Interrupted,
    /// The admin endpoint, or a component that cannot go on.
    Requested,
}

// === impl Shutdown ===

impl Shutdown {
    /// Takes over SIGTERM and SIGINT. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// If the signals cannot be taken over.
    pub fn install() -> io::Result<Self> {
        let (sender, requested) = watch::channel(());
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            requested,
            trigger: ShutdownTrigger(sender),
        })
    }

    /// Ends the process when called.
    pub fn trigger(&self) -> ShutdownTrigger {
        self.trigger.clone()
    }

    /// Waits for a reason to end. May be awaited again: a second signal means that the user is in a hurry.
    pub async fn wait(&mut self) -> ShutdownReason {
        tokio::select! {
            Some(()) = self.terminate.recv() => ShutdownReason::Terminated,
            Some(()) = self.interrupt.recv() => ShutdownReason::Interrupted,
            Ok(()) = self.requested.changed() => ShutdownReason::Requested,
            else => ShutdownReason::Requested,
        }
    }
}

impl ShutdownTrigger {
    /// Asks the process to end.
    pub fn shut_down(&self) {
        self.0.send_replace(());
    }
}

impl fmt::Display for ShutdownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminated => "SIGTERM",
            Self::Interrupted => "SIGINT",
            Self::Requested => "request",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_ends_it_and_so_does_the_next() {
        let mut shutdown = Shutdown::install().unwrap();
        let trigger = shutdown.trigger();
        for _ in 0..2 {
            trigger.shut_down();
            assert_eq!(shutdown.wait().await, ShutdownReason::Requested);
        }
    }
}
