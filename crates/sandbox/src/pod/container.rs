//! One container's life: started, probed, restarted, ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Probe;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::probe::Prober;
use super::process::Program;
use crate::log::Log;
use crate::process::{exit_code, kill_group, pid, terminate};
use crate::topology::NodeNet;

/// Whether ended containers are started again (`restartPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// What a container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It does not run, and will.
    Waiting {
        reason: String,
    },
    Running,
    /// It has ended for good.
    Ended {
        code: i32,
    },
}

/// What happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    State(State),
    Ready(bool),
    /// It ended, or was ended because it did not answer, and is started again.
    Restarts {
        reason: String,
    },
}

/// One container, ready to be started.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) program: Program,
    pub(crate) policy: RestartPolicy,
    pub(crate) readiness: Option<Probe>,
    pub(crate) liveness: Option<Probe>,
    pub(crate) ports: Vec<(String, u16)>,
    pub(crate) node: Arc<NodeNet>,
    pub(crate) ip: std::net::IpAddr,
    pub(crate) log: Log,
}

/// How a pod is told to end: when, and how long its processes may take.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) token: CancellationToken,
    pub(crate) grace: Arc<parking_lot::Mutex<Duration>>,
}

/// Why a running container did not go on.
enum End {
    Exited(i32),
    Unresponsive,
    Stopped(i32),
}

/// The first pause before a restart; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A container that ran for longer starts with short pauses again.
const PROVEN: Duration = Duration::from_secs(10);

// === impl RestartPolicy ===

impl RestartPolicy {
    pub(crate) fn parse(policy: Option<&str>) -> Self {
        match policy {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }

    /// Whether a container that ended so is started again.
    pub(crate) fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// How long to wait before the `restart`th restart, counted from 0.
pub(crate) fn pause(restart: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(restart)).min(LONGEST_PAUSE)
}

// === impl Container ===

impl Container {
    /// Runs the container until it ends for good or is stopped; the last news is its [`State::Ended`].
    pub(crate) async fn live(self, stop: Stop, news: mpsc::Sender<News>) {
        let mut restart = 0;
        let code = loop {
            let started = Instant::now();
            let (reason, code) = match self.once(&stop, &news).await {
                Ok(End::Stopped(code)) => break code,
                Ok(End::Exited(code)) if !self.policy.restarts(code) => break code,
                Ok(End::Exited(code)) => (format!("it ended with code {code}"), code),
                Ok(End::Unresponsive) if self.policy == RestartPolicy::Never => break 137,
                Ok(End::Unresponsive) => ("its liveness probe failed".to_owned(), 137),
                // What cannot be started may be repaired: the program installed, the file written.
                Err(reason) if self.policy != RestartPolicy::Never => (reason, 128),
                Err(reason) => {
                    let _ = news.send(News::State(State::Waiting { reason })).await;
                    break 128;
                }
            };
            let _ = news.send(News::Ready(false)).await;
            let waiting = State::Waiting { reason: reason.clone() };
            let _ = news.send(News::State(waiting)).await;
            if started.elapsed() > PROVEN {
                restart = 0;
            }
            tokio::select! {
                () = sleep(pause(restart)) => {}
                () = stop.token.cancelled() => break code,
            }
            restart += 1;
            let _ = news.send(News::Restarts { reason }).await;
        };
        let _ = news.send(News::Ready(false)).await;
        let _ = news.send(News::State(State::Ended { code })).await;
    }

    /// Runs the container once.
    async fn once(&self, stop: &Stop, news: &mpsc::Sender<News>) -> Result<End, String> {
        let mut child = self.program.start(&self.log)?;
        let leader = pid(&child);
        let _ = news.send(News::State(State::Running)).await;
        let end = self.attend(&mut child, stop, news).await;
        kill_group(leader);
        end
    }

    /// Watches a running container.
    async fn attend(
        &self,
        child: &mut Child,
        stop: &Stop,
        news: &mpsc::Sender<News>,
    ) -> Result<End, String> {
        let (tell_ready, mut ready) = mpsc::channel(1);
        let (tell_alive, mut alive) = mpsc::channel(1);
        match self.prober(self.readiness.as_ref()) {
            Some(prober) => drop(tokio::spawn(prober.watch(tell_ready))),
            None => drop(tell_ready.send(true).await),
        }
        if let Some(prober) = self.prober(self.liveness.as_ref()) {
            tokio::spawn(prober.watch(tell_alive));
        }
        let failed = |error: std::io::Error| error.to_string();
        let end: fn(i32) -> End = loop {
            tokio::select! {
                status = child.wait() => return Ok(End::Exited(exit_code(status.map_err(failed)?))),
                Some(ready) = ready.recv() => drop(news.send(News::Ready(ready)).await),
                Some(alive) = alive.recv() => if !alive {
                    break |_| End::Unresponsive;
                },
                () = stop.token.cancelled() => break End::Stopped,
            }
        };
        let _ = news.send(News::Ready(false)).await;
        let grace = *stop.grace.lock();
        Ok(end(exit_code(terminate(child, grace).await.map_err(failed)?)))
    }

    fn prober(&self, probe: Option<&Probe>) -> Option<Prober> {
        Some(Prober {
            probe: probe?.clone(),
            node: self.node.clone(),
            ip: self.ip,
            ports: self.ports.clone(),
            program: self.program.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_decide_by_the_exit_code() {
        use RestartPolicy::{Always, Never, OnFailure};
        for (policy, code, restarts) in [
            (Always, 0, true),
            (Always, 1, true),
            (OnFailure, 0, false),
            (OnFailure, 1, true),
            (Never, 0, false),
            (Never, 1, false),
        ] {
            assert_eq!(policy.restarts(code), restarts, "{policy:?} {code}");
        }
        assert_eq!(RestartPolicy::parse(None), Always);
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        assert_eq!(pause(0), FIRST_PAUSE);
        assert_eq!(pause(2), 4 * FIRST_PAUSE);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
