//! Puts load on a server, and says what came of it.

pub(crate) mod idle;
mod iperf3;
mod wrk;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ambit_sandbox::Room;

use crate::program;
use crate::scenario::Load;
use crate::tools::Tools;

/// Where the HTTP server of a pod listens.
pub(crate) const HTTP_PORT: u16 = 8080;
/// Where the iperf3 server of a pod listens.
pub(crate) const IPERF3_PORT: u16 = 5201;

/// How much longer than asked a tool may take.
const GRACE: Duration = Duration::from_secs(15);

/// What a load came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Bytes received or requests answered.
    pub(crate) work: f64,
    /// Time taken.
    pub(crate) seconds: f64,
    /// Of requests.
    pub(crate) latency: Option<Latency>,
    /// Requests that failed.
    pub(crate) errors: u64,
}

/// Percentiles of the time from request to answer, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Runs `load` from a client's namespace against a server's address for `seconds`.
///
/// # Errors
/// The tool failed, or its answer makes no sense.
pub(crate) async fn run(
    load: Load,
    tools: &Tools,
    (client, server): (&Room, IpAddr),
    seconds: u32,
) -> anyhow::Result<Outcome> {
    let limit = Duration::from_secs(seconds.into()) + GRACE;
    match load {
        Load::Stream { streams } => {
            let mut command = client.command(&tools.iperf3);
            command.args(["--json", "--client", &server.to_string()]);
            command.args(["--port", &IPERF3_PORT.to_string()]);
            command.args(["--parallel", &streams.to_string(), "--time", &seconds.to_string()]);
            let json = program::output("iperf3", client, command, limit).await?;
            iperf3::parse(&json)
        }
        Load::Requests { connections, keep_alive } => {
            let mut command = client.command(&tools.wrk);
            command.args(["--latency", "--threads", "1", "--timeout", "5s"]);
            command.args(["--connections", &connections.to_string()]);
            command.args(["--duration", &format!("{seconds}s")]);
            if !keep_alive {
                command.args(["--header", "Connection: close"]);
            }
            command.arg(format!("http://{}/", SocketAddr::new(server, HTTP_PORT)));
            let text = program::output("wrk", client, command, limit).await?;
            wrk::parse(&text)
        }
    }
}
