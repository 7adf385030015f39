//! Opening connections: computed one step at a time, with a turn for each pod; and not too many of peers' handshakes.
//!
//! To open a connection takes a few steps of computing, with long waits for others in between. Only steps take turns, so
//! that whoever is silent holds up nobody; and after a millisecond of steps everything else that is ready on the thread
//! goes first, so that a storm does not hold up bytes. Pods take turns one by one.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;

/// Peers' handshakes that one thread has under way at most, those that wait for the peer included. Each takes some
/// 10 KiB.
const CAPACITY: usize = 2048;
/// What a pod may have under way however many others have.
const FLOOR: usize = 8;
/// How long steps may follow each other before others go first; and how long after the last one they had the time to.
const SLICE: Duration = Duration::from_millis(1);

/// What all pods of one thread share.
#[derive(Debug)]
pub(crate) struct Room {
    turn: Semaphore,
    steps: Mutex<Option<Steps>>,
    /// How long steps may follow each other.
    slice: Duration,
    /// How long after a step the next one does not follow it.
    gap: Duration,
    /// Handshakes of peers.
    under_way: AtomicUsize,
}

/// Steps that have followed each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Steps {
    began: Instant,
    ended: Instant,
}

/// The turns of one pod on one thread.
#[derive(Debug)]
pub struct Turns {
    room: Arc<Room>,
    /// One at a time stands in the line of the thread, which so becomes a line of pods.
    turn: Semaphore,
    /// Handshakes of peers.
    under_way: AtomicUsize,
    silent: Mutex<Silent>,
}

/// Turns whose peer has to say something, by when they began to wait.
#[derive(Debug, Default)]
struct Silent {
    next: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// Why a peer's handshake was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// All those under way wait for us.
    #[error("too many handshakes of peers are under way")]
    Full,
    /// It was the one that waited longest for its peer, and another needed the place.
    #[error("the peer was silent while others needed its place")]
    Displaced,
}

/// What becomes of one more peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Enter,
    /// In the place of the one that has been silent longest.
    Displace,
    Refuse,
}

/// A peer's place among the handshakes under way.
struct Place<'a>(&'a Turns);

/// A peer's place among those that are silent.
struct Waiting<'a> {
    of: &'a Turns,
    since: u64,
    displaced: Arc<Notify>,
}

// === impl Room ===

impl Default for Room {
    fn default() -> Self {
        Self {
            turn: Semaphore::new(1),
            steps: Mutex::default(),
            slice: SLICE,
            gap: SLICE,
            under_way: AtomicUsize::new(0),
        }
    }
}

impl Room {
    /// When the steps began that one at `now` would follow.
    fn follows(&self, steps: Steps, now: Instant) -> Option<Instant> {
        (now.duration_since(steps.ended) < self.gap).then_some(steps.began)
    }
}

// === impl Turns ===

impl Turns {
    pub(crate) fn new(room: Arc<Room>) -> Self {
        Self {
            room,
            turn: Semaphore::new(1),
            under_way: AtomicUsize::new(0),
            silent: Mutex::default(),
        }
    }

    /// How many peers' handshakes are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Performs a handshake that a peer has asked for, in its own task. The caller bounds the time.
    ///
    /// The first poll takes no turn: it should find that the peer has yet to speak.
    ///
    /// # Errors
    /// There is no room for it, or not any more.
    pub async fn accept<T>(&self, handshake: impl Future<Output = T>) -> Result<T, Crowded> {
        let _place = self.enter()?;
        let mut handshake = pin!(handshake);
        let mut polled = once(handshake.as_mut()).await;
        loop {
            if let Poll::Ready(done) = polled {
                return Ok(done);
            }
            self.await_peer().await?;
            polled = self.step(handshake.as_mut()).await;
        }
    }

    /// Performs what opens a connection. It has to have its task to itself.
    pub async fn take<T>(&self, opening: impl Future<Output = T>) -> T {
        let mut opening = pin!(opening);
        loop {
            if let Poll::Ready(done) = self.step(opening.as_mut()).await {
                return done;
            }
            woken().await;
        }
    }

    /// Waits until everybody who waits at the moment has had a turn, and what is ready has been served.
    pub async fn pass(&self) {
        drop(self.turn.acquire().await);
        yield_now().await;
    }

    /// Polls once, when it is its turn.
    async fn step<F: Future>(&self, opening: Pin<&mut F>) -> Poll<F::Output> {
        // Neither is ever closed.
        let _of_pod = self.turn.acquire().await;
        let _of_thread = self.room.turn.acquire().await;
        let steps = *self.room.steps.lock();
        let mut began = Instant::now();
        match steps.and_then(|steps| self.room.follows(steps, began)) {
            None => {}
            Some(first) if began.duration_since(first) < self.room.slice => began = first,
            Some(_) => {
                yield_now().await;
                began = Instant::now();
            }
        }
        let polled = once(opening).await;
        *self.room.steps.lock() = Some(Steps { began, ended: Instant::now() });
        polled
    }

    /// Waits until the handshake that has just been polled can go on.
    async fn await_peer(&self) -> Result<(), Crowded> {
        let waiting = self.wait();
        tokio::select! {
            biased;
            () = waiting.displaced.notified() => Err(Crowded::Displaced),
            () = woken() => Ok(()),
        }
    }

    fn enter(&self) -> Result<Place<'_>, Crowded> {
        let all = self.room.under_way.load(Ordering::Relaxed);
        let mut silent = self.silent.lock();
        match decide(self.under_way(), all, !silent.waiting.is_empty()) {
            Entry::Enter => {}
            Entry::Displace => {
                if let Some((_, longest)) = silent.waiting.pop_first() {
                    longest.notify_one();
                }
            }
            Entry::Refuse => return Err(Crowded::Full),
        }
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.room.under_way.fetch_add(1, Ordering::Relaxed);
        Ok(Place(self))
    }

    fn wait(&self) -> Waiting<'_> {
        let displaced = Arc::new(Notify::new());
        let mut silent = self.silent.lock();
        let since = silent.next;
        silent.next += 1;
        silent.waiting.insert(since, displaced.clone());
        Waiting { of: self, since, displaced }
    }
}

/// A pod may have as many as there is room left for, so that one that is stormed takes half of a thread's room, two
/// take a third each, and so on.
fn decide(own: usize, all: usize, anybody_silent: bool) -> Entry {
    if own < CAPACITY.saturating_sub(all).max(FLOOR) {
        Entry::Enter
    } else if anybody_silent {
        Entry::Displace
    } else {
        Entry::Refuse
    }
}

async fn once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Ends when the task is polled again.
async fn woken() {
    let mut was_polled = false;
    poll_fn(|_| match std::mem::replace(&mut was_polled, true) {
        false => Poll::Pending,
        true => Poll::Ready(()),
    })
    .await;
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        self.0.room.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.of.silent.lock().waiting.remove(&self.since);
    }
}

// === impl Crowded ===

impl Crowded {
    /// A stable label for metrics and logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Full => "too_many_handshakes",
            Self::Displaced => "displaced",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use tokio::sync::oneshot;
    use tokio::task::JoinSet;

    use super::*;

    fn pods(count: usize) -> Vec<Turns> {
        let room = Arc::new(Room { slice: Duration::ZERO, gap: Duration::MAX, ..Room::default() });
        (0..count).map(|_| Turns::new(room.clone())).collect()
    }

    #[test]
    fn what_is_free_is_shared_and_the_silent_give_way() {
        for (own, all, anybody_silent, expected) in [
            (0, 0, false, Entry::Enter),
            (CAPACITY / 2 - 1, CAPACITY / 2 - 1, false, Entry::Enter),
            (CAPACITY / 2, CAPACITY / 2, false, Entry::Refuse),
            (CAPACITY / 2, CAPACITY / 2, true, Entry::Displace),
            // Another pod's storm leaves as much again.
            (0, CAPACITY / 2, true, Entry::Enter),
            (CAPACITY / 3, 2 * CAPACITY / 3, false, Entry::Enter),
            (CAPACITY / 3 + 1, 2 * CAPACITY / 3 + 1, false, Entry::Refuse),
            // Whatever others do.
            (FLOOR - 1, CAPACITY, false, Entry::Enter),
            (FLOOR, 10 * CAPACITY, false, Entry::Refuse),
        ] {
            assert_eq!(decide(own, all, anybody_silent), expected, "{own} of {all}");
        }
    }

    #[tokio::test]
    async fn pods_take_turns_and_everything_that_is_ready_goes_first() {
        let pods = pods(2);
        let order = RefCell::new(Vec::new());
        let (pod, order) = (&pods, &order);
        let handshake = |index: usize, name: &'static str| async move {
            let steps = async {
                for _ in 0..2 {
                    order.borrow_mut().push(name);
                    // As if the peer's bytes were there already.
                    yield_now().await;
                }
            };
            pod[index].take(steps).await;
        };
        let bytes = async {
            for _ in 0..100 {
                order.borrow_mut().push("bytes");
                yield_now().await;
            }
        };
        let storm = futures_util::future::join_all((0..5).map(|_| handshake(0, "storm")));
        futures_util::future::join3(storm, handshake(1, "quiet"), bytes).await;
        let order = order.borrow();
        let at = |wanted: &str, nth: usize| {
            let mut places = (0..order.len()).filter(|place| order[*place] == wanted);
            places.nth(nth).expect("it happened")
        };
        assert!(at("quiet", 0) < at("storm", 2), "{order:?}");
        assert!(at("quiet", 1) < at("storm", 4), "{order:?}");
        let steps: Vec<_> = order.windows(2).filter(|pair| !pair.contains(&"bytes")).collect();
        assert!(steps.len() <= 1, "steps follow each other: {order:?}");
    }

    #[tokio::test]
    async fn who_is_silent_holds_up_nobody_and_gives_way_in_the_end() {
        let pod = Arc::new(pods(1).remove(0));
        let mut silent = JoinSet::new();
        for number in 0..CAPACITY / 2 {
            let pod = pod.clone();
            silent.spawn(async move { (number, pod.accept(pending::<()>()).await) });
        }
        while pod.silent.lock().waiting.len() < CAPACITY / 2 {
            yield_now().await;
        }
        for longest in 0..3 {
            let (tell, told) = oneshot::channel();
            let newcomer = pod.accept(told);
            let displaced = async {
                let displaced = silent.join_next().await.expect("one ends").expect("no panic");
                tell.send(()).expect("the newcomer waits");
                displaced
            };
            let (done, displaced) = tokio::join!(newcomer, displaced);
            assert_eq!((done, displaced), (Ok(Ok(())), (longest, Err(Crowded::Displaced))));
            let another = pod.clone();
            silent.spawn(async move { (0, another.accept(pending::<()>()).await) });
            while pod.silent.lock().waiting.len() < CAPACITY / 2 {
                yield_now().await;
            }
        }
        silent.shutdown().await;
        assert_eq!((pod.under_way(), pod.silent.lock().waiting.len()), (0, 0));
    }
}
