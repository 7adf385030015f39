//! The measurement from start to end, in the order of the report.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;

use super::certificates;
use super::changes::{Changes, Load, Took};
use super::figures::Id;
use super::fleet::Fleet;
use super::http2::Server;
use super::results::{Figure, Phase};
use super::shape::Shape;
use super::subject::{Start, Subject};
use super::world::World;
use crate::results::median;
use crate::results::percentile;
use crate::usage;

/// How long proxies may take to be in sync.
const SYNC_PATIENCE: Duration = Duration::from_secs(300);

/// What is done, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    /// Starts of the controller, and full syncs of one proxy alone.
    pub(crate) repeats: u32,
    /// How long memory is left alone before it is looked at.
    pub(crate) settle: Duration,
    /// One a second, all at once, twenty a second.
    pub(crate) loads: [Load; 3],
    /// How long certificates are asked for.
    pub(crate) certificates: Duration,
}

/// The controller to start, or the live control plane.
#[derive(Clone, Debug)]
pub(crate) enum Candidate {
    Program { program: PathBuf, log: PathBuf },
    Live { address: std::net::SocketAddr, pid: Option<u32> },
}

/// The measurement as it goes on.
pub(crate) struct Measurement<'a> {
    plan: &'a Plan,
    world: &'a World,
    pub(crate) figures: Vec<Figure>,
    pub(crate) phases: Vec<Phase>,
}

/// CPU times at the beginning of a phase.
struct Clock {
    began: Instant,
    subject: Option<f64>,
    driver: f64,
    api_server: f64,
}

// === impl Measurement ===

impl<'a> Measurement<'a> {
    pub(crate) fn new(plan: &'a Plan, world: &'a World) -> Self {
        Self { plan, world, figures: Vec::new(), phases: Vec::new() }
    }

    /// Measures everything.
    ///
    /// # Errors
    /// The control plane or a proxy fails.
    pub(crate) async fn run(&mut self, candidate: &Candidate) -> anyhow::Result<()> {
        let mut subject = self.start(candidate).await?;
        let roots = self.world.roots().await?;
        let server = subject.server(&roots)?;
        self.memory(Id::MemoryAlone, &mut subject).await?;
        let tokens = self.world.tokens(self.plan.shape).await?;
        self.one(&server, &tokens).await?;
        let fleet = self.all(&mut subject, &server, &tokens).await?;
        self.memory(Id::MemorySubscribed, &mut subject).await?;
        self.changes(&mut subject, &fleet).await?;
        drop(fleet);
        self.certificates(&mut subject, (&roots, &tokens)).await
    }

    /// Starts the controller several times; the last stays.
    async fn start(&mut self, candidate: &Candidate) -> anyhow::Result<Subject> {
        let (program, log) = match candidate {
            Candidate::Live { address, pid } => return Ok(Subject::live(*address, *pid)),
            Candidate::Program { program, log } => (program, log),
        };
        let mut starts: Vec<Start> = Vec::new();
        loop {
            let clock = Clock::start(None, self.world)?;
            let (mut subject, start) =
                Subject::start(program, self.world.arguments(), log.clone()).await?;
            starts.push(start);
            if starts.len() < self.plan.repeats as usize {
                continue;
            }
            let phase = clock.stop("start", subject.cpu_seconds()?, self.world)?;
            self.phases.push(phase);
            let of =
                |value: fn(&Start) -> f64| median(&starts.iter().map(value).collect::<Vec<_>>());
            self.put(Id::StartTime, of(|start| start.took.as_secs_f64()));
            self.put(Id::StartCpu, of(|start| start.cpu.as_secs_f64()));
            self.put(Id::StartPeak, of(|start| start.peak as f64));
            return Ok(subject);
        }
    }

    async fn memory(&mut self, id: Id, subject: &mut Subject) -> anyhow::Result<()> {
        let Some(pid) = subject.pid()? else { return Ok(()) };
        tokio::time::sleep(self.plan.settle).await;
        self.put(id, Some(usage::resident(pid)? as f64));
        Ok(())
    }

    /// One proxy alone, several times.
    async fn one(&mut self, server: &Server, tokens: &[String]) -> anyhow::Result<()> {
        let (mut times, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..self.plan.repeats {
            let fleet = Fleet::connect(server, tokens.get(..1).context("there is no node")?)?;
            for synced in fleet.ledger.all_synced(SYNC_PATIENCE).await? {
                times.push(synced.took.as_secs_f64());
                bytes.push(synced.bytes as f64);
                eprintln!("one proxy has {} resources", synced.resources);
            }
        }
        self.put(Id::OneSync, median(&times));
        self.put(Id::OneSyncBytes, median(&bytes));
        Ok(())
    }

    /// All proxies at once.
    async fn all(
        &mut self,
        subject: &mut Subject,
        server: &Server,
        tokens: &[String],
    ) -> anyhow::Result<Fleet> {
        if let Some(pid) = subject.pid()? {
            usage::forget_peak(pid)?;
        }
        let clock = Clock::start(subject.cpu_seconds()?, self.world)?;
        let began = Instant::now();
        let fleet = Fleet::connect(server, tokens)?;
        let synced = fleet.ledger.all_synced(SYNC_PATIENCE).await?;
        let phase = clock.stop("all connect at once", subject.cpu_seconds()?, self.world)?;
        let last = synced.iter().map(|synced| synced.at).max();
        self.put(Id::AllSyncTime, last.map(|last| (last - began).as_secs_f64()));
        self.put(Id::AllSyncCpu, phase.subject);
        self.phases.push(phase);
        if let Some(pid) = subject.pid()? {
            self.put(Id::AllSyncPeak, Some(usage::peak(pid)? as f64));
        }
        Ok(fleet)
    }

    async fn changes(&mut self, subject: &mut Subject, fleet: &Fleet) -> anyhow::Result<()> {
        let run = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let mut changes = Changes::new(self.plan.shape, run);
        let phases = [
            ("1 change a second", [Id::SlowP50, Id::SlowP99, Id::SlowP99Sent]),
            ("burst of changes", [Id::BurstP50, Id::BurstP99, Id::BurstP99Sent]),
            ("20 changes a second", [Id::FastP50, Id::FastP99, Id::FastP99Sent]),
        ];
        for (load, (name, [p50, p99, p99_sent])) in self.plan.loads.into_iter().zip(phases) {
            let clock = Clock::start(subject.cpu_seconds()?, self.world)?;
            let Took { accepted, sent } =
                changes.make(load, self.world, &fleet.ledger).await.context(name)?;
            self.phases.push(clock.stop(name, subject.cpu_seconds()?, self.world)?);
            self.put(p50, percentile(&accepted, 0.5));
            self.put(p99, percentile(&accepted, 0.99));
            self.put(p99_sent, percentile(&sent, 0.99));
        }
        Ok(())
    }

    async fn certificates(
        &mut self,
        subject: &mut Subject,
        credentials: (&str, &[String]),
    ) -> anyhow::Result<()> {
        let clock = Clock::start(subject.cpu_seconds()?, self.world)?;
        let (shape, duration) = (self.plan.shape, self.plan.certificates);
        let count = certificates::ask(shape, subject, credentials, duration).await?;
        let phase = clock.stop("certificates", subject.cpu_seconds()?, self.world)?;
        self.put(Id::Certificates, phase.subject.map(|cpu| count as f64 / cpu));
        self.phases.push(phase);
        Ok(())
    }

    /// A figure that cannot be had, of a process that is not known, is left out.
    fn put(&mut self, id: Id, value: Option<f64>) {
        self.figures.extend(value.map(|value| Figure { id, value }));
    }
}

// === impl Clock ===

impl Clock {
    fn start(subject: Option<f64>, world: &World) -> anyhow::Result<Self> {
        let driver = usage::cpu_time(std::process::id())?.as_secs_f64();
        Ok(Self { began: Instant::now(), subject, driver, api_server: world.cpu_seconds()? })
    }

    fn stop(
        self,
        name: &'static str,
        subject: Option<f64>,
        world: &World,
    ) -> anyhow::Result<Phase> {
        let seconds = self.began.elapsed().as_secs_f64();
        eprintln!("{name} ({seconds:.1} s)");
        Ok(Phase {
            name,
            seconds,
            subject: subject.map(|now| now - self.subject.unwrap_or(0.0)),
            driver: usage::cpu_time(std::process::id())?.as_secs_f64() - self.driver,
            api_server: world.cpu_seconds()? - self.api_server,
        })
    }
}
