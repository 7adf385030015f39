//! Requests at a fixed rate, whatever becomes of those before: a request's latency counts from the moment at which it
//! was due, so that nothing is left out while the server, or this program, is behind.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ambit_sandbox::Room;
use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::idle::{Connections, Request};

/// What is offered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) connections: usize,
    /// Requests a second, over all connections.
    pub(crate) rate: u32,
    pub(crate) seconds: u32,
}

/// How long requests took, and how many were not answered.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    /// Microseconds.
    histogram: Histogram<u64>,
    pub(crate) unanswered: u64,
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: open-loop\r\n\r\n";
/// How the answer ends: its headers, and all of its body.
const END: &[u8] = b"\r\n\r\nok\n";
/// How long answers are waited for after the last request was due.
const GRACE: Duration = Duration::from_secs(5);
/// The longest latency that is told from longer ones.
const LONGEST: Duration = Duration::from_secs(60);

/// Offers requests from a client's namespace to the HTTP server at an address.
///
/// # Errors
/// A connection cannot be opened, or the server closes one.
pub(crate) async fn run(client: &Room, server: IpAddr, offer: Offer) -> anyhow::Result<Latencies> {
    let connections = Connections::open(client, server, offer.connections, Request::Small).await?;
    let driver = Driver::new(connections.open, offer)?;
    // A thread of its own: a timer of the runtime would be a millisecond late.
    let latencies = tokio::task::spawn_blocking(|| driver.run()).await??;
    ensure!(!latencies.histogram.is_empty(), "no request was answered");
    Ok(latencies)
}

struct Driver {
    offer: Offer,
    clients: Vec<Client>,
    /// Those without a request under way, the one that has waited longest first.
    free: VecDeque<usize>,
    latencies: Latencies,
}

struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
    /// When the request under way was due, from the start.
    due: Option<Duration>,
}

// === impl Driver ===

impl Driver {
    fn new(streams: Vec<TcpStream>, offer: Offer) -> anyhow::Result<Self> {
        let clients = streams.into_iter().map(|stream| {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            Ok(Client { stream, answer: Vec::new(), due: None })
        });
        let clients = clients.collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            offer,
            free: (0..clients.len()).collect(),
            clients,
            latencies: Latencies::new()?,
        })
    }

    fn run(mut self) -> anyhow::Result<Latencies> {
        let Offer { rate, seconds, .. } = self.offer;
        let all = u64::from(rate) * u64::from(seconds);
        let end = Duration::from_secs(seconds.into()) + GRACE;
        let (mut sent, began) = (0, Instant::now());
        loop {
            while sent < all && self.due(sent) <= began.elapsed() {
                let Some(index) = self.free.pop_front() else { break };
                let due = self.due(sent);
                self.client(index)?.ask(due)?;
                sent += 1;
            }
            let now = began.elapsed();
            if (sent == all && self.free.len() == self.clients.len()) || now > end {
                return self.finished(now, sent..all);
            }
            let next = (sent < all && !self.free.is_empty()).then(|| self.due(sent));
            let wait = next.unwrap_or(end).saturating_sub(now);
            for index in self.readable(wait)? {
                let answered = self.client(index)?.read()?;
                if let Some(due) = answered {
                    self.latencies.record(began.elapsed().saturating_sub(due))?;
                    self.free.push_back(index);
                }
            }
        }
    }

    fn due(&self, request: u64) -> Duration {
        Duration::from_nanos(request * 1_000_000_000 / u64::from(self.offer.rate.max(1)))
    }

    fn client(&mut self, index: usize) -> anyhow::Result<&mut Client> {
        self.clients.get_mut(index).context("there is no such connection")
    }

    /// The connections on which something has arrived, once there are any or `wait` is over.
    fn readable(&self, wait: Duration) -> anyhow::Result<Vec<usize>> {
        let fds = self.clients.iter().map(|c| PollFd::new(c.stream.as_fd(), PollFlags::POLLIN));
        let mut fds: Vec<_> = fds.collect();
        match ppoll(&mut fds, Some(TimeSpec::from(wait)), None) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        Ok(fds.iter().enumerate().filter(|(_, fd)| ready(fd)).map(|(index, _)| index).collect())
    }

    /// Requests without an answer count with their age, and those that were never sent as well.
    fn finished(
        mut self,
        now: Duration,
        unsent: std::ops::Range<u64>,
    ) -> anyhow::Result<Latencies> {
        let under_way = self.clients.iter().filter_map(|client| client.due);
        let unsent = unsent.map(|request| self.due(request));
        let unanswered: Vec<_> = under_way.chain(unsent).collect();
        self.latencies.unanswered = unanswered.len() as u64;
        unanswered.iter().try_for_each(|due| self.latencies.record(now.saturating_sub(*due)))?;
        Ok(self.latencies)
    }
}

// === impl Client ===

impl Client {
    fn ask(&mut self, due: Duration) -> anyhow::Result<()> {
        self.due = Some(due);
        // So little always fits into the buffer of a connection that has nothing under way.
        self.stream.write_all(REQUEST).context("a request cannot be sent")
    }

    /// Takes what has arrived. Returns when the request was due, if its answer is complete.
    fn read(&mut self) -> anyhow::Result<Option<Duration>> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => anyhow::bail!("the server has closed a connection"),
            Ok(length) => self.answer.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("an answer cannot be read"),
        }
        if !self.answer.ends_with(END) {
            return Ok(None);
        }
        self.answer.clear();
        Ok(self.due.take())
    }
}

// === impl Latencies ===

impl Latencies {
    fn new() -> anyhow::Result<Self> {
        let longest = u64::try_from(LONGEST.as_micros())?;
        Ok(Self { histogram: Histogram::new_with_bounds(1, longest, 3)?, unanswered: 0 })
    }

    fn record(&mut self, latency: Duration) -> anyhow::Result<()> {
        let micros = u64::try_from(latency.min(LONGEST).as_micros())?;
        Ok(self.histogram.record(micros.max(1))?)
    }

    /// Adds those of another run.
    ///
    /// # Errors
    /// Never, as the longest latency of both is the same.
    pub(crate) fn add(&mut self, more: &Self) -> anyhow::Result<()> {
        self.unanswered += more.unanswered;
        Ok(self.histogram.add(&more.histogram)?)
    }

    /// The latency that a share of all requests does not exceed, seconds.
    pub(crate) fn at(&self, share: f64) -> f64 {
        self.histogram.value_at_quantile(share) as f64 / 1e6
    }

    /// The curve of a picture, from the median to one in a hundred thousand.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        let shares = (0..=48u8).map(|step| 1.0 - 10f64.powf(-f64::from(step) / 12.0));
        let enough = |share: &f64| (1.0 - share) * self.histogram.len() as f64 >= 1.0;
        shares.filter(enough).map(|share| (share, self.at(share))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::mpsc;

    use super::*;

    /// A server that takes its time for the first request.
    fn offered(pause: Duration, rate: u32) -> Latencies {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let (done, _wait) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            let mut buffer = vec![0; REQUEST.len()];
            let mut pause = Some(pause);
            while server.read_exact(&mut buffer).is_ok() {
                pause.take().into_iter().for_each(std::thread::sleep);
                server.write_all(&[b"HTTP/1.1 200 OK", END].concat()).unwrap();
            }
            drop(done);
        });
        let offer = Offer { connections: 1, rate, seconds: 1 };
        Driver::new(vec![stream], offer).unwrap().run().unwrap()
    }

    #[test]
    fn requests_that_had_to_wait_count_from_when_they_were_due() {
        let latencies = offered(Duration::from_millis(500), 100);
        assert_eq!((latencies.histogram.len(), latencies.unanswered), (100, 0));
        // Half of the second was spent waiting: so did half of all requests, 250 ms on average.
        assert!(latencies.at(0.99) >= 0.45, "{}", latencies.at(0.99));
        assert!(latencies.at(0.75) >= 0.2, "{}", latencies.at(0.75));
        let curve = latencies.curve();
        assert!(curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{curve:?}");
        assert_eq!(curve.last().unwrap().0, 0.99, "one in a hundred is all there is: {curve:?}");
    }

    #[test]
    fn requests_without_an_answer_count_with_their_age() {
        let latencies = offered(Duration::from_secs(600), 10);
        assert_eq!((latencies.histogram.len(), latencies.unanswered), (10, 10));
        assert!(latencies.at(0.05) >= 5.0 && latencies.at(1.0) >= 5.9);
    }
}
