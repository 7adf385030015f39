//! Quiet traffic beside whatever a test does: how long its answers take.
//!
//! Client and server have threads of their own, so that what they measure is the mesh and not this process.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ambit_net::NetNs;

use crate::Mesh;
use crate::wait::DEADLINE;

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(4);
/// After so many requests, one goes over a connection of its own.
const FRESH: usize = 4;
const SIZE: usize = 100;

/// A client that asks a server time and again until it is told to stop.
pub struct Neighbour {
    stop: Arc<AtomicBool>,
    client: JoinHandle<Latencies>,
}

/// How long answers took.
#[derive(Debug, Default)]
pub struct Latencies {
    /// Over a connection that is open already.
    pub kept: Percentiles,
    /// From connecting to the answer.
    pub fresh: Percentiles,
    /// What went wrong.
    pub failures: Vec<String>,
}

/// Times, sorted.
#[derive(Default)]
pub struct Percentiles(Vec<Duration>);

impl Mesh {
    /// Serves [neighbours](Neighbour) on a port of a pod, for as long as the test runs.
    ///
    /// # Panics
    /// The port is taken.
    pub fn serve_neighbours(&self, pod: &str, port: u16) {
        let netns = self.pod(pod).room().netns();
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = netns.enter(|| TcpListener::bind(address)).expect("a namespace");
        let listener = listener.expect("the port is free");
        thread::spawn(move || {
            while let Ok((tcp, _)) = listener.accept() {
                thread::spawn(move || echo(tcp));
            }
        });
    }

    /// Begins to ask a server from inside a pod.
    pub fn neighbour(&self, pod: &str, to: SocketAddr) -> Neighbour {
        let netns = self.pod(pod).room().netns().clone();
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        Neighbour { stop, client: thread::spawn(move || ask(&netns, to, &stopped)) }
    }

    /// How long answers take for so long.
    ///
    /// # Panics
    /// The client does.
    pub async fn measure(&self, pod: &str, to: SocketAddr, how_long: Duration) -> Latencies {
        let neighbour = self.neighbour(pod, to);
        tokio::time::sleep(how_long).await;
        neighbour.stop().await
    }
}

// === impl Neighbour ===

impl Neighbour {
    /// Ends it, and says what it has seen.
    ///
    /// # Panics
    /// The client did.
    pub async fn stop(self) -> Latencies {
        self.stop.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(|| self.client.join()).await;
        joined.expect("the runtime goes on").expect("the client does not panic")
    }
}

fn echo(mut tcp: TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut bytes = [0; SIZE];
    loop {
        tcp.read_exact(&mut bytes)?;
        tcp.write_all(&bytes)?;
    }
}

fn ask(netns: &NetNs, to: SocketAddr, stop: &AtomicBool) -> Latencies {
    let mut latencies = Latencies::default();
    let mut kept = None;
    let mut asked = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        asked += 1;
        let is_fresh = asked.is_multiple_of(FRESH);
        let began = Instant::now();
        let (tcp, times) = match kept.take().filter(|_| !is_fresh) {
            Some(tcp) => (Ok(tcp), &mut latencies.kept),
            None => (connect(netns, to), &mut latencies.fresh),
        };
        match tcp.and_then(exchange) {
            Ok(tcp) => {
                times.0.push(began.elapsed());
                kept = Some(tcp);
            }
            Err(error) => latencies.failures.push(format!("after {:?}: {error}", began.elapsed())),
        }
        thread::sleep(PAUSE);
    }
    latencies.kept.0.sort_unstable();
    latencies.fresh.0.sort_unstable();
    latencies
}

fn connect(netns: &NetNs, to: SocketAddr) -> io::Result<TcpStream> {
    let tcp = netns.enter(|| TcpStream::connect_timeout(&to, DEADLINE))??;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(DEADLINE))?;
    Ok(tcp)
}

fn exchange(mut tcp: TcpStream) -> io::Result<TcpStream> {
    let mut bytes = [7; SIZE];
    tcp.write_all(&bytes)?;
    tcp.read_exact(&mut bytes)?;
    Ok(tcp)
}

// === impl Percentiles ===

impl Percentiles {
    /// The time within which so many of a hundred had their answer; none if nobody had to wait.
    pub fn at(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }
}

impl std::fmt::Debug for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.0.len();
        if count == 0 {
            return f.write_str("none");
        }
        let [half, most, all] = [50, 99, 100].map(|percent| self.at(percent));
        write!(f, "{count} answers, p50 {half:.1?}, p99 {most:.1?}, longest {all:.1?}")
    }
}
