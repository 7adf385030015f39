//! TCP to TCP on one node, moved inside the kernel.

mod direction;
mod pipe;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::ResetOnDrop;
use direction::{Direction, End};

/// Bytes after which a relay lets the worker's other tasks run.
const TURN: usize = 1 << 20;

/// Bytes moved so far, readable while a relay runs. One relay writes to it.
#[derive(Debug, Default)]
pub struct Counters {
    a_to_b: AtomicU64,
    b_to_a: AtomicU64,
}

/// One of the two connections of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Side {
    A,
    B,
}

/// How a relay ended.
#[derive(Debug)]
pub enum Outcome {
    /// Both directions ended in order.
    Finished,
    /// One side reset its connection, and the other was reset in turn.
    Reset {
        /// Who began.
        by: Side,
    },
    /// A connection broke in another way, and both were reset.
    Failed {
        /// The connection that broke.
        side: Side,
        /// How.
        error: io::Error,
    },
}

impl Counters {
    /// Counts bytes taken from one side by other means than [`relay`].
    pub fn add(&self, from: Side, bytes: usize) {
        let counter = match from {
            Side::A => &self.a_to_b,
            Side::B => &self.b_to_a,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that `b` has taken from `a`.
    pub fn a_to_b(&self) -> u64 {
        self.a_to_b.load(Ordering::Relaxed)
    }

    /// Bytes that `a` has taken from `b`.
    pub fn b_to_a(&self) -> u64 {
        self.b_to_a.load(Ordering::Relaxed)
    }
}

/// Moves bytes between `a` and `b` until both directions have ended.
///
/// The end of one direction is passed on and leaves the other running; a reset is passed on as a reset. One task
/// carries both directions and lets others run after each MiB. A relay that waits for a sender holds neither buffer
/// nor pipe. Dropping the future resets both connections.
pub fn relay(
    a: TcpStream,
    b: TcpStream,
    counters: &Counters,
) -> impl Future<Output = Outcome> + Send {
    let (a, b) = (ResetOnDrop::new(a), ResetOnDrop::new(b));
    // They stay where the future has them: arguments of an async function are held twice.
    async move {
        let outcome = {
            let mut ab = Half::new(Direction::new(&a, &b, &counters.a_to_b), &b);
            let mut ba = Half::new(Direction::new(&b, &a, &counters.b_to_a), &a);
            loop {
                match poll_fn(|cx| poll(&mut ab, &mut ba, cx)).await {
                    Turn::Over(outcome) => break outcome,
                    Turn::Yield => tokio::task::yield_now().await,
                }
            }
        };
        if matches!(outcome, Outcome::Finished) {
            a.finish();
            b.finish();
        }
        outcome
    }
}

/// A direction, how it ended, and how its destination is watched once nobody reads from it.
struct Half<'a> {
    direction: Direction<'a>,
    destination: &'a TcpStream,
    /// Made when it is needed, as it is larger than all the rest.
    destination_lost: Option<Pin<Box<dyn Future<Output = io::Error> + Send + 'a>>>,
    end: Option<End>,
}

/// Why a relay stops being polled for now.
enum Turn {
    Yield,
    Over(Outcome),
}

fn poll(ab: &mut Half<'_>, ba: &mut Half<'_>, cx: &mut Context<'_>) -> Poll<Turn> {
    let mut budget = TURN;
    ab.advance(cx, &mut budget);
    ba.advance(cx, &mut budget);
    ab.watch(ba, cx);
    ba.watch(ab, cx);
    match outcome(&mut ab.end, &mut ba.end) {
        Some(outcome) => Poll::Ready(Turn::Over(outcome)),
        None if budget == 0 => Poll::Ready(Turn::Yield),
        None => Poll::Pending,
    }
}

/// What two ended directions mean for the relay; `None` while it has to go on. Of a side that takes no more bytes,
/// those that it had sent before are still delivered.
fn outcome(ab: &mut Option<End>, ba: &mut Option<End>) -> Option<Outcome> {
    use End::{DestinationBroken, Finished, SourceBroken};
    match (ab.take(), ba.take()) {
        (Some(SourceBroken(error)), _) => Some(Outcome::broken(Side::A, error)),
        (_, Some(SourceBroken(error))) => Some(Outcome::broken(Side::B, error)),
        (Some(DestinationBroken(error)), Some(_)) => Some(Outcome::broken(Side::B, error)),
        (Some(Finished), Some(DestinationBroken(error))) => Some(Outcome::broken(Side::A, error)),
        (Some(Finished), Some(Finished)) => Some(Outcome::Finished),
        undecided => {
            (*ab, *ba) = undecided;
            None
        }
    }
}

/// Waits until the connection has failed, which reading would notice just as well.
async fn failure(stream: &TcpStream) -> io::Error {
    if stream.ready(Interest::ERROR).await.is_ok()
        && let Ok(Some(error)) = stream.take_error()
    {
        return error;
    }
    std::future::pending().await
}

// === impl Outcome ===

impl Outcome {
    fn broken(side: Side, error: io::Error) -> Self {
        if crate::is_reset(&error) {
            Self::Reset { by: side }
        } else {
            Self::Failed { side, error }
        }
    }
}

// === impl Half ===

impl<'a> Half<'a> {
    fn new(direction: Direction<'a>, destination: &'a TcpStream) -> Self {
        Self { direction, destination, destination_lost: None, end: None }
    }

    fn advance(&mut self, cx: &mut Context<'_>, budget: &mut usize) {
        if self.end.is_none()
            && let Poll::Ready(end) = self.direction.poll(cx, budget)
        {
            self.end = Some(end);
        }
    }

    /// Ends this direction if its destination is gone and `opposite`, which would have noticed, has ended before.
    fn watch(&mut self, opposite: &Half<'_>, cx: &mut Context<'_>) {
        if self.end.is_some() || opposite.end.is_none() {
            return;
        }
        let destination = self.destination;
        let lost = self.destination_lost.get_or_insert_with(|| Box::pin(failure(destination)));
        if let Poll::Ready(error) = lost.as_mut().poll(cx) {
            self.end = Some(End::DestinationBroken(error));
        }
    }
}

#[cfg(test)]
mod tests;
