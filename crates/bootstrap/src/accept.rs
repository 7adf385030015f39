//! The one accept loop: accept, hand over, until told to close; then the rest of the queue.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ambit_net::canonical;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::Shortage;

/// How long to wait after an accept failed for want of descriptors or memory.
const BACKOFF: Duration = Duration::from_millis(50);
/// Connections after which others go first: few enough that those are opened by the time that more are accepted.
const BATCH: usize = 4;
/// The most connections that are taken from the queue at the end: many times what a queue holds, so that a storm of new
/// ones cannot keep the door open.
const REST: usize = 10_000;

/// Gives every connection of `listener` to `handle` until `closing`.
///
/// The connections that the kernel has queued by then are accepted as well, and only then is the listener closed: a
/// successor that listens on the same port takes those that come later. What arrives between the last accept and the
/// close goes to the successor too where `net.ipv4.tcp_migrate_req` is set, and is reset elsewhere. Every so many
/// connections it waits for `others`.
pub async fn accept<F: Future<Output = ()>>(
    listener: TcpListener,
    closing: CancellationToken,
    shortage: &Shortage,
    others: impl Fn() -> F,
    handle: impl Fn(TcpStream, SocketAddr),
) {
    let mut taken = 0_usize;
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok((tcp, peer)) => {
                shortage.accepted();
                handle(tcp, canonical(peer));
                taken = taken.wrapping_add(1);
                if taken.is_multiple_of(BATCH) {
                    others().await;
                }
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                shortage.failed(&error);
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }
    if let Err(error) = accept_rest(listener, handle) {
        tracing::warn!(%error, "cannot accept what was queued when the listener closed");
    }
}

/// Asks the kernel for what is queued. The runtime may not have heard of it yet, and lets a task accept only so many in
/// a row.
fn accept_rest(listener: TcpListener, handle: impl Fn(TcpStream, SocketAddr)) -> io::Result<()> {
    let listener = listener.into_std()?;
    for _ in 0..REST {
        match listener.accept() {
            Ok((tcp, peer)) => {
                tcp.set_nonblocking(true)?;
                handle(TcpStream::from_std(tcp)?, canonical(peer));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the error belongs to a connection that was gone before it was accepted (accept(2), "Error handling").
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::Interrupted
            | Kind::NetworkDown
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// More than the runtime lets a task accept in a row.
    const QUEUED: usize = 300;

    #[tokio::test]
    async fn what_is_queued_when_it_closes_is_accepted() {
        let options = ambit_net::ListenOptions { backlog: 1024, ..Default::default() };
        let listener = ambit_net::listen(([127, 0, 0, 1], 0).into(), &options).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = listener.into_tokio().unwrap();
        let queued: Vec<_> =
            (0..QUEUED).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let (closing, accepted) = (CancellationToken::new(), Cell::new(0));
        closing.cancel();
        let count = |_, _| accepted.set(accepted.get() + 1);
        accept(listener, closing, &Shortage::default(), tokio::task::yield_now, count).await;
        assert_eq!(accepted.get(), queued.len());
    }
}
