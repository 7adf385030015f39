//! The servers of a pod: nginx with one worker, and iperf3.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_sandbox::PodNet;
use anyhow::{Context as _, bail};

use crate::load::Tools;
use crate::load::{HTTP_PORT, IPERF3_PORT};
use crate::program::Program;

/// How long servers may take to listen.
const LIMIT: Duration = Duration::from_secs(20);
/// How often it is tried.
const INTERVAL: Duration = Duration::from_millis(20);
/// The length of an answer that nobody reads to its end, bytes. The file takes no room, as it is one hole.
const ENDLESS: u64 = 1 << 40;

/// A pod with servers in it.
#[derive(Debug)]
pub(super) struct Server {
    pod: Arc<PodNet>,
    nginx: Program,
    iperf3: Program,
}

// === impl Server ===

impl Server {
    /// Starts them; returns when they listen. What they write goes under `dir`.
    ///
    /// # Errors
    /// One cannot be started, or ends; its last words are in the message.
    pub(super) async fn start(pod: Arc<PodNet>, tools: &Tools, dir: &Path) -> anyhow::Result<Self> {
        let dir = dir.join(pod.name());
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let endless = File::create(dir.join("endless")).and_then(|file| file.set_len(ENDLESS));
        endless.with_context(|| format!("cannot write to {}", dir.display()))?;
        let file = dir.join("nginx.conf");
        fs::write(&file, nginx_conf(&dir))
            .with_context(|| format!("cannot write {}", file.display()))?;

        let mut command = pod.command(&tools.nginx);
        command.arg("-e").arg(dir.join("nginx.errors")).arg("-p").arg(&dir).arg("-c").arg(&file);
        let name = |program: &str| format!("{program} in {}", pod.name());
        let mut nginx = Program::start(name("nginx"), pod.room(), command, &dir.join("nginx.log"))?;
        let mut command = pod.command(&tools.iperf3);
        command.args(["--server", "--port", &IPERF3_PORT.to_string()]);
        let mut iperf3 =
            Program::start(name("iperf3"), pod.room(), command, &dir.join("iperf3.log"))?;

        listening(&pod, HTTP_PORT, &mut nginx).await?;
        listening(&pod, IPERF3_PORT, &mut iperf3).await?;
        Ok(Self { pod, nginx, iperf3 })
    }

    pub(super) fn pod(&self) -> &Arc<PodNet> {
        &self.pod
    }

    pub(super) fn programs(&mut self) -> impl Iterator<Item = &mut Program> {
        [&mut self.nginx, &mut self.iperf3].into_iter()
    }
}

/// Waits until something listens on `port`.
async fn listening(pod: &PodNet, port: u16, program: &mut Program) -> anyhow::Result<()> {
    let address = SocketAddr::new(pod.ip(), port);
    let deadline = Instant::now() + LIMIT;
    while pod.room().run(move || TcpStream::connect_timeout(&address, LIMIT)).flatten().is_err() {
        program.ensure_running()?;
        if Instant::now() > deadline {
            bail!(
                "{} does not listen on {address}; its last words: {}",
                program.name(),
                program.last_words()
            );
        }
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(())
}

/// One worker, no log, a tiny answer from memory, connections kept for as long as the client likes.
fn nginx_conf(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "daemon off;\n\
         user root;\n\
         worker_processes 1;\n\
         pid {dir}/nginx.pid;\n\
         events {{ worker_connections 65536; }}\n\
         http {{\n\
           access_log off;\n\
           client_body_temp_path {dir}/body;\n\
           proxy_temp_path {dir}/proxy;\n\
           fastcgi_temp_path {dir}/fastcgi;\n\
           uwsgi_temp_path {dir}/uwsgi;\n\
           scgi_temp_path {dir}/scgi;\n\
           keepalive_requests 1000000000;\n\
           keepalive_timeout 1h;\n\
           server {{\n\
             listen {HTTP_PORT};\n\
             location / {{ return 200 \"ok\\n\"; }}\n\
             location = /endless {{ alias {dir}/endless; }}\n\
           }}\n\
         }}\n"
    )
}
