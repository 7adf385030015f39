//! Traffic that goes on while something breaks, and what its users noticed of it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ambit_net::{ConnectOptions, NetNs};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::wait::{DEADLINE, eventually};

/// Between two words of one client.
const PAUSE: Duration = Duration::from_millis(5);
/// Bytes that are made, and compared, at a time.
const BLOCK: usize = 64 << 10;

/// Clients in a pod that talk to a [greeter](crate::greet): one over a connection that it keeps, one over a new
/// connection for each word.
pub struct Traffic {
    counts: Arc<Counts>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    kept: AtomicU64,
    fresh: AtomicU64,
    slowest: AtomicU64,
    failures: std::sync::Mutex<Vec<String>>,
}

/// What became of some traffic.
#[derive(Clone, Debug)]
pub struct Account {
    /// Words that came back over connections that were kept.
    pub kept: u64,
    /// Words that came back over connections of their own.
    pub fresh: u64,
    /// The longest that any of them took.
    pub slowest: Duration,
    /// What did not come back, and why.
    pub failures: Vec<String>,
}

// === impl Traffic ===

impl Traffic {
    /// Starts talking from inside `netns` to `to`.
    pub fn start(netns: &NetNs, to: SocketAddr) -> Self {
        let (counts, (stop, stopped)) = (Arc::<Counts>::default(), watch::channel(false));
        let mut clients = JoinSet::new();
        clients.spawn(keep(netns.clone(), to, counts.clone(), stopped.clone()));
        clients.spawn(afresh(netns.clone(), to, counts.clone(), stopped));
        Self { counts, stop, clients }
    }

    /// What has become of it so far.
    pub fn so_far(&self) -> Account {
        Account {
            kept: self.counts.kept.load(Relaxed),
            fresh: self.counts.fresh.load(Relaxed),
            slowest: Duration::from_micros(self.counts.slowest.load(Relaxed)),
            failures: self.counts.failures.lock().expect("no panic").clone(),
        }
    }

    /// Waits until both clients have had so many more answers.
    ///
    /// # Panics
    /// They do not.
    pub async fn goes_on(&self, more: u64) {
        let before = self.so_far();
        eventually(|| async {
            let now = self.so_far();
            let goes_on = now.kept >= before.kept + more && now.fresh >= before.fresh + more;
            if goes_on { Ok(()) } else { Err(format!("{before:?}, now {now:?}")) }
        })
        .await;
    }

    /// Ends it in order, and says what became of it.
    ///
    /// # Panics
    /// A client does.
    pub async fn stop(mut self) -> Account {
        self.stop.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
        self.so_far()
    }
}

async fn keep(netns: NetNs, to: SocketAddr, counts: Arc<Counts>, stop: watch::Receiver<bool>) {
    let mut held = None;
    let mut number = 0_u64;
    while !*stop.borrow() {
        number += 1;
        let began = Instant::now();
        let word = async {
            let mut tcp = match held.take() {
                Some(tcp) => tcp,
                None => open(&netns, to).await?,
            };
            exchange(&mut tcp, number).await?;
            Ok(tcp)
        };
        held = counts.count("kept", &counts.kept, began, in_time(word).await);
        sleep(PAUSE).await;
    }
}

async fn afresh(netns: NetNs, to: SocketAddr, counts: Arc<Counts>, stop: watch::Receiver<bool>) {
    let mut number = 0_u64;
    while !*stop.borrow() {
        number += 1;
        let began = Instant::now();
        let word = async { exchange(&mut open(&netns, to).await?, number).await };
        counts.count("fresh", &counts.fresh, began, in_time(word).await);
        sleep(PAUSE).await;
    }
}

// === impl Counts ===

impl Counts {
    fn count<T>(
        &self,
        who: &str,
        good: &AtomicU64,
        began: Instant,
        done: io::Result<T>,
    ) -> Option<T> {
        let took = began.elapsed();
        self.slowest.fetch_max(took.as_micros().try_into().unwrap_or(u64::MAX), Relaxed);
        match done {
            Ok(value) => {
                good.fetch_add(1, Relaxed);
                Some(value)
            }
            Err(error) => {
                let failure = format!("{who}: {error}, after {took:?}");
                self.failures.lock().expect("no panic").push(failure);
                None
            }
        }
    }
}

/// A connection from inside `netns` whose other end has said its greeting.
///
/// # Errors
/// No connection comes about, or nobody greets.
pub async fn open(netns: &NetNs, to: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let options =
        ConnectOptions { netns: Some(netns), timeout: DEADLINE, ..ConnectOptions::default() };
    let tcp = ambit_net::connect(to, &options).await.map_err(io::Error::other)?;
    let mut tcp = BufReader::new(tcp);
    match tcp.read_line(&mut String::new()).await? {
        0 => Err(io::Error::other("closed without a greeting")),
        _ => Ok(tcp),
    }
}

/// Whether what is said on a connection that [`open`] made comes back.
///
/// # Errors
/// It does not, or not in time.
pub async fn echoes(tcp: &mut BufReader<TcpStream>) -> io::Result<()> {
    in_time(exchange(tcp, 0)).await
}

/// A word that has to come back as it is.
async fn exchange(tcp: &mut BufReader<TcpStream>, number: u64) -> io::Result<()> {
    let word = format!("word {number}\n");
    tcp.write_all(word.as_bytes()).await?;
    let mut echo = String::new();
    tcp.read_line(&mut echo).await?;
    if echo == word { Ok(()) } else { Err(io::Error::other(format!("{echo:?} came back"))) }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(DEADLINE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Sends `size` bytes, no two blocks of them alike, to somebody who echoes, and says how long it took until all of them
/// were back. Every byte is compared.
///
/// # Errors
/// The connection breaks, ends early, or brings other bytes.
pub async fn echo_bytes(tcp: BufReader<TcpStream>, size: usize) -> io::Result<Duration> {
    let began = Instant::now();
    let (mut read, mut write) = tokio::io::split(tcp);
    let send = async {
        for (number, length) in blocks(size) {
            write.write_all(&block(number)[..length]).await?;
        }
        write.shutdown().await
    };
    let compare = async {
        let mut got = vec![0; BLOCK];
        for (number, length) in blocks(size) {
            read.read_exact(&mut got[..length]).await?;
            if got[..length] != block(number)[..length] {
                return Err(io::Error::other(format!("block {number} is not what was sent")));
            }
        }
        match read.read(&mut got).await? {
            0 => Ok(()),
            more => Err(io::Error::other(format!("{more} bytes too many"))),
        }
    };
    tokio::try_join!(send, compare)?;
    Ok(began.elapsed())
}

fn blocks(size: usize) -> impl Iterator<Item = (u64, usize)> {
    let lengths = (0..size).step_by(BLOCK).map(move |start| BLOCK.min(size - start));
    (0..).zip(lengths)
}

/// Bytes that look like noise and depend on the block's number.
fn block(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut word).take(BLOCK / 8).flatten().collect()
}
