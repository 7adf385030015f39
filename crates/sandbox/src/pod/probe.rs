//! Probes: whether a container answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ambit_redirect::{PROBE_V4, PROBE_V6};
use http_body_util::Empty;
use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::process::Program;
use crate::topology::NodeNet;

/// How often a container is asked that has never answered: sooner than a cluster would, a sandbox is waited for.
const FIRST_PERIOD: Duration = Duration::from_millis(100);

/// Asks one container.
#[derive(Clone, Debug)]
pub(crate) struct Prober {
    pub(crate) probe: Probe,
    pub(crate) node: Arc<NodeNet>,
    pub(crate) ip: IpAddr,
    /// The container's named ports.
    pub(crate) ports: Vec<(String, u16)>,
    /// What runs commands in the container.
    pub(crate) program: Program,
}

/// Counts answers against thresholds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    success_threshold: u32,
    failure_threshold: u32,
    streak: u32,
    last: bool,
    state: Option<bool>,
}

// === impl Verdict ===

impl Verdict {
    pub(crate) fn new(probe: &Probe) -> Self {
        let threshold = |value: Option<i32>, default| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|v| *v > 0).unwrap_or(default)
        };
        Self {
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            streak: 0,
            last: false,
            state: None,
        }
    }

    /// Takes an answer; the new state, if it changed.
    pub(crate) fn observe(&mut self, answer: bool) -> Option<bool> {
        self.streak = if answer == self.last { self.streak.saturating_add(1) } else { 1 };
        self.last = answer;
        let threshold = if answer { self.success_threshold } else { self.failure_threshold };
        let reached = self.streak >= threshold && self.state != Some(answer);
        reached.then(|| {
            self.state = Some(answer);
            answer
        })
    }

    fn is_known(&self) -> bool {
        self.state.is_some()
    }
}

// === impl Prober ===

impl Prober {
    /// Asks until nobody listens any more, and tells each change.
    pub(crate) async fn watch(self, changed: mpsc::Sender<bool>) {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(
                value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default),
            )
        };
        let period = seconds(self.probe.period_seconds, 10).max(Duration::from_secs(1));
        let mut verdict = Verdict::new(&self.probe);
        sleep(seconds(self.probe.initial_delay_seconds, 0)).await;
        loop {
            let answer = self.ask(seconds(self.probe.timeout_seconds, 1)).await;
            if let Some(state) = verdict.observe(answer)
                && changed.send(state).await.is_err()
            {
                return;
            }
            sleep(if verdict.is_known() { period } else { FIRST_PERIOD }).await;
        }
    }

    /// Asks once.
    async fn ask(&self, limit: Duration) -> bool {
        let limit = limit.max(Duration::from_secs(1));
        let answer = async {
            if let Some(exec) = &self.probe.exec {
                let command = exec.command.clone().unwrap_or_default();
                return self.program.succeeds(&command).await;
            }
            if let Some(http) = &self.probe.http_get {
                return self.get(http).await.is_some_and(|status| (200..400).contains(&status));
            }
            match &self.probe.tcp_socket {
                Some(tcp) => self.connect(tcp.host.as_deref(), &tcp.port).await.is_some(),
                None => true,
            }
        };
        timeout(limit, answer).await.unwrap_or(false)
    }

    async fn get(&self, http: &HTTPGetAction) -> Option<u16> {
        let stream = self.connect(http.host.as_deref(), &http.port).await?;
        let authority = SocketAddr::new(self.ip, self.port(&http.port)?).to_string();
        let mut request = hyper::Request::get(http.path.as_deref().unwrap_or("/"))
            .header("user-agent", "ambit-probe")
            .header("accept", "*/*");
        let headers = http.http_headers.iter().flatten();
        if !headers.clone().any(|header| header.name.eq_ignore_ascii_case("host")) {
            request = request.header("host", authority);
        }
        for header in headers {
            request = request.header(&header.name, &header.value);
        }
        let request = request.body(Empty::new()).ok()?;
        Some(crate::http::send(stream, request).await.ok()?.status)
    }

    /// Connects as the node does: from the address that the mesh lets through (Istio ambient).
    async fn connect(&self, host: Option<&str>, port: &IntOrString) -> Option<TcpStream> {
        let ip = host.and_then(|host| host.parse().ok()).unwrap_or(self.ip);
        let to = SocketAddr::new(ip, self.port(port)?);
        let source: IpAddr = if ip.is_ipv4() { PROBE_V4.into() } else { PROBE_V6.into() };
        let source = Some(SocketAddr::new(source, 0));
        crate::http::connect(self.node.room(), source, to).await.ok()
    }

    fn port(&self, port: &IntOrString) -> Option<u16> {
        match port {
            IntOrString::Int(number) => u16::try_from(*number).ok(),
            IntOrString::String(name) => {
                self.ports.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count_streaks() {
        let probe =
            Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() };
        let mut verdict = Verdict::new(&probe);
        let answers = [
            (true, None),
            (false, None),
            (true, None),
            (true, Some(true)),
            (true, None),
            (false, None),
            (false, None),
            (true, None),
            (false, None),
            (false, None),
            (false, Some(false)),
            (false, None),
        ];
        for (step, (answer, change)) in answers.into_iter().enumerate() {
            assert_eq!(verdict.observe(answer), change, "step {step}");
        }
        assert_eq!(Verdict::new(&Probe::default()).observe(true), Some(true));
    }
}
