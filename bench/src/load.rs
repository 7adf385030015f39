//! Puts load on a server, and says what came of it.

pub(crate) mod h2load;
pub(crate) mod idle;
mod iperf3;
pub(crate) mod open_loop;
mod wrk;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_sandbox::Room;

use crate::program;
use crate::scenario::Load;
use crate::tools::{self, IPERF3, NGINX, WRK};

/// Where the HTTP server of a pod listens.
pub(crate) const HTTP_PORT: u16 = 8080;
/// Where the iperf3 server of a pod listens.
pub(crate) const IPERF3_PORT: u16 = 5201;

/// How much longer than asked a tool may take.
const GRACE: Duration = Duration::from_secs(15);

/// Where the programs of others are.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) iperf3: PathBuf,
    pub(crate) wrk: PathBuf,
    pub(crate) nginx: PathBuf,
}

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

// === impl Tools ===

impl Tools {
    /// Finds all of them.
    ///
    /// # Errors
    /// Names every one that is missing, and the packages to install.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let [iperf3, wrk, nginx] = tools::locate([IPERF3, WRK, NGINX])?;
        Ok(Self { iperf3, wrk, nginx })
    }
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
    match load {
        Load::Stream { streams } => {
            let limit = Duration::from_secs(seconds.into()) + GRACE;
            let mut command = client.command(&tools.iperf3);
            command.args(["--json", "--client", &server.to_string()]);
            command.args(["--port", &IPERF3_PORT.to_string()]);
            command.args(["--parallel", &streams.to_string(), "--time", &seconds.to_string()]);
            let json = program::output("iperf3", client, command, limit).await?;
            iperf3::parse(&json)
        }
        Load::Requests { connections, keep_alive } => {
            let (connections, url) = (
                connections.to_string(),
                format!("http://{}/", SocketAddr::new(server, HTTP_PORT)),
            );
            let mut options = vec!["--connections", &connections];
            if !keep_alive {
                options.extend(["--header", "Connection: close"]);
            }
            options.push(&url);
            wrk(&tools.wrk, client, &options, seconds).await
        }
    }
}

/// Runs wrk with `options` from a client's namespace for `seconds`, with one thread.
///
/// # Errors
/// It failed, or its answer makes no sense.
pub(crate) async fn wrk(
    program: &Path,
    client: &Room,
    options: &[&str],
    seconds: u32,
) -> anyhow::Result<Outcome> {
    let mut command = client.command(program);
    command.args(["--latency", "--threads", "1", "--timeout", "5s"]);
    command.args(["--duration", &format!("{seconds}s")]).args(options);
    let limit = Duration::from_secs(seconds.into()) + GRACE;
    wrk::parse(&program::output("wrk", client, command, limit).await?)
}
