//! The one accept loop: accept, hand over, until told to close; then the rest of the queue.

use std::net::SocketAddr;
use std::time::Duration;

use ambit_net::canonical;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How long to wait after an accept failed for want of descriptors or memory.
const BACKOFF: Duration = Duration::from_millis(50);
/// Connections after which others go first: few enough that those are opened by the time that more are accepted.
const BATCH: usize = 4;

/// Gives every connection of `listener` to `handle` until `closing`.
///
/// The connections that the kernel has queued by then are accepted as well, and only then is the listener closed: a
/// successor that listens on the same port takes those that come later. Every so many connections it waits for `others`.
pub async fn accept<F: Future<Output = ()>>(
    listener: TcpListener,
    closing: CancellationToken,
    others: impl Fn() -> F,
    handle: impl Fn(TcpStream, SocketAddr),
) {
    let mut taken = 0_usize;
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => match accepted {
                Ok((tcp, peer)) => {
                    handle(tcp, canonical(peer));
                    taken = taken.wrapping_add(1);
                    if taken.is_multiple_of(BATCH) {
                        others().await;
                    }
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection, trying again in {BACKOFF:?}; raise the limit of descriptors if that is what is missing");
                    tokio::time::sleep(BACKOFF).await;
                }
            },
            () = closing.cancelled() => return,
        }
    }
}

/// Whether the error belongs to a connection that was gone before it was accepted (accept(2), "Error handling").
fn is_about_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
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
