//! The control plane that is measured: a controller of ours, started here, or a live istiod.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::http2::Server;
use super::ports::free_ports;
use crate::program::{Program, dies_with_us};
use crate::usage;

/// What proxies know every control plane by.
const NAME: &str = "istiod.istio-system.svc";
/// How long a controller may take to be ready.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(5);

/// A control plane under measurement.
pub(crate) struct Subject {
    address: SocketAddr,
    /// Its process, where it is known.
    pid: Option<u32>,
    program: Option<Program>,
}

/// A start of a controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// Until it was ready.
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
    /// The most memory meanwhile, bytes.
    pub(crate) peak: u64,
}

// === impl Subject ===

impl Subject {
    /// A control plane that runs already.
    pub(crate) fn live(address: SocketAddr, pid: Option<u32>) -> Self {
        Self { address, pid, program: None }
    }

    /// Starts a controller and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub(crate) async fn start(
        program: &Path,
        arguments: Vec<String>,
        log: PathBuf,
    ) -> anyhow::Result<(Self, Start)> {
        let [listen, admin, status] = free_ports()?;
        let mut command = dies_with_us(program);
        command.args(arguments).arg("--listen").arg(format!("127.0.0.1:{listen}"));
        for (option, port) in [("--admin-port", admin), ("--status-port", status)] {
            command.arg(option).arg(port.to_string());
        }
        let began = Instant::now();
        let mut program = Program::start_here("controller", command, &log)?;
        let pid = program.pid();
        while !is_ready(admin).await {
            program.ensure_running()?;
            ensure!(
                began.elapsed() < PATIENCE,
                "the controller is not ready; its last words: {}",
                program.last_words()
            );
            tokio::time::sleep(PAUSE).await;
        }
        let start =
            Start { took: began.elapsed(), cpu: usage::cpu_time(pid)?, peak: usage::peak(pid)? };
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), listen);
        Ok((Self { address, pid: Some(pid), program: Some(program) }, start))
    }

    /// Where proxies connect to.
    ///
    /// # Errors
    /// The roots are none.
    pub(crate) fn server(&self, roots: &str) -> anyhow::Result<Server> {
        Server::new(self.address, NAME, roots)
    }

    /// Where certificates are asked for, and the name that the answering certificate has.
    pub(crate) fn authority(&self) -> (String, String) {
        (format!("https://{}", self.address), NAME.to_owned())
    }

    /// Its process, where it is known.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn pid(&mut self) -> anyhow::Result<Option<u32>> {
        if let Some(program) = &mut self.program {
            program.ensure_running()?;
        }
        Ok(self.pid)
    }

    /// CPU time so far, seconds.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn cpu_seconds(&mut self) -> anyhow::Result<Option<f64>> {
        let pid = self.pid()?;
        pid.map(|pid| Ok(usage::cpu_time(pid).context("the control plane")?.as_secs_f64()))
            .transpose()
    }
}

/// Whether the controller's admin port says that everything has been read.
async fn is_ready(admin: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, admin)).await?;
        let request = "GET /healthz/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    ask.await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
