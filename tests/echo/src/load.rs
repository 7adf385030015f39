//! Many calls over a long time, counted: what a user of the network would have noticed.
//!
//! Each second a line of JSON with the counts so far goes to standard output, each failure to standard error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::Uri;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::call::{Scheme, Session, Target};

/// What to call, and how.
#[derive(Args)]
pub(crate) struct Options {
    /// As for `call`; `tcp` only with --keep.
    url: Uri,
    /// Calls a second, each over a connection of its own, whether or not earlier ones were answered.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// So many clients instead, each with a connection that it keeps. A call of HTTP that fails on a connection which has
    /// been of use before is made once more, over a new one; a connection of TCP must never end.
    #[arg(long, value_name = "CLIENTS", conflicts_with = "rate")]
    keep: Option<u32>,
    /// Milliseconds between an answer and the next call of a client with --keep.
    #[arg(long, default_value_t = 20, value_name = "MILLISECONDS")]
    pause: u64,
    /// The most seconds that one call may take.
    #[arg(long, default_value_t = 10)]
    timeout: u64,
}

/// What has happened so far.
#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
    repeated: AtomicU64,
    open: AtomicU64,
}

struct Load {
    target: Target,
    limit: Duration,
    pause: Duration,
    counts: Counts,
}

/// Calls until a signal; prints the counts each second and at the end.
pub(crate) async fn run(options: Options) -> Result<()> {
    let load = Arc::new(Load {
        target: Target::of(options.url)?,
        limit: Duration::from_secs(options.timeout),
        pause: Duration::from_millis(options.pause),
        counts: Counts::default(),
    });
    let is_tcp = matches!(load.target.scheme, Scheme::Tcp);
    ensure!(!is_tcp || options.keep.is_some(), "tcp:// takes --keep");
    for _ in 0..options.keep.unwrap_or(0) {
        let load = Arc::clone(&load);
        if is_tcp {
            tokio::spawn(async move { load.hold().await });
        } else {
            tokio::spawn(async move { load.keep().await });
        }
    }
    if options.keep.is_none() {
        tokio::spawn(Arc::clone(&load).fresh(Duration::from_secs(1) / options.rate));
    }
    let (mut terminate, mut second) =
        (signal(SignalKind::terminate())?, interval(Duration::from_secs(1)));
    loop {
        tokio::select! {
            _ = second.tick() => load.counts.print(),
            _ = terminate.recv() => break,
        }
    }
    load.counts.print();
    Ok(())
}

// === impl Load ===

impl Load {
    /// A call at each tick, each on its own.
    async fn fresh(self: Arc<Self>, period: Duration) {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            ticks.tick().await;
            let load = Arc::clone(&self);
            tokio::spawn(async move {
                let done = load.in_time(load.call(None)).await;
                load.counts.count(done.map(drop));
            });
        }
    }

    /// One client of HTTP.
    async fn keep(&self) {
        let mut session = None;
        loop {
            let used = session.is_some();
            let mut done = self.in_time(self.call(session.take())).await;
            if used && done.is_err() {
                self.counts.repeated.fetch_add(1, Relaxed);
                done = self.in_time(self.call(None)).await;
            }
            session = self.counts.count(done);
            sleep(self.pause).await;
        }
    }

    /// One client of TCP, which connects again when it has to, and counts that as a failure.
    async fn hold(&self) {
        loop {
            self.counts.count(self.lines().await);
            sleep(self.pause).await;
        }
    }

    /// Lines forth and back; ends only with an error.
    async fn lines(&self) -> Result<()> {
        let mut stream = BufStream::new(self.in_time(self.target.connect()).await?);
        let seen = self.in_time(exchange(&mut stream)).await?;
        ensure!(seen.starts_with('{'), "{seen:?} instead of what the server saw");
        let echoed = self.in_time(line(&mut stream)).await?;
        ensure!(echoed == LINE, "{echoed:?} came back");
        let _open = Open::new(&self.counts.open);
        loop {
            self.counts.answered.fetch_add(1, Relaxed);
            sleep(self.pause).await;
            let echoed = self.in_time(exchange(&mut stream)).await?;
            ensure!(echoed == LINE, "{echoed:?} came back");
        }
    }

    async fn call(&self, session: Option<Session>) -> Result<Session> {
        let mut session = match session {
            Some(session) => session,
            None => self.target.open().await?,
        };
        self.target.call(&mut session).await?;
        Ok(session)
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let done = timeout(self.limit, call).await;
        done.unwrap_or_else(|_| bail!("no answer within {} s", self.limit.as_secs()))
    }
}

const LINE: &str = "still there\n";

async fn exchange(stream: &mut BufStream<TcpStream>) -> Result<String> {
    stream.write_all(LINE.as_bytes()).await?;
    stream.flush().await?;
    line(stream).await
}

async fn line(stream: &mut BufStream<TcpStream>) -> Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.context("reading")?;
    ensure!(!line.is_empty(), "the server closed the connection");
    Ok(line)
}

// === impl Counts ===

impl Counts {
    fn count<T>(&self, done: Result<T>) -> Option<T> {
        match done {
            Ok(value) => {
                self.answered.fetch_add(1, Relaxed);
                Some(value)
            }
            Err(error) => {
                self.failed.fetch_add(1, Relaxed);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                eprintln!("{:.3}: {error:#}", now.as_secs_f64());
                None
            }
        }
    }

    fn print(&self) {
        let [answered, failed, repeated, open] =
            [&self.answered, &self.failed, &self.repeated, &self.open].map(|c| c.load(Relaxed));
        println!(
            "{}",
            serde_json::json!({ "answered": answered, "failed": failed, "repeated": repeated, "open": open })
        );
    }
}

/// A connection that is open as long as this lives.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
