//! `ambit up`: a sandbox, told about line by line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ambit_sandbox::{Binaries, Event, Images, Options as SandboxOptions, Sandbox, Source};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::demo;
use crate::signals::Signals;
use crate::terminal::{Style, Terminal};

/// What to run, and how.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Directory of Kubernetes YAML; edits take effect while it runs.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Walk through what the mesh does with the objects of examples/hello, check it, and end.
    #[arg(long)]
    demo: bool,
    /// How many nodes there are, where the objects name none.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=100))]
    nodes: u8,
    /// A program of this machine for an image, where a container has no command; may be repeated.
    #[arg(long, value_name = "IMAGE=PROGRAM")]
    image: Vec<String>,
    /// The sandbox's name, which its network namespaces carry.
    #[arg(long, default_value = "up")]
    name: String,
    /// Nodes, pods and services alone.
    #[arg(long, conflicts_with = "demo")]
    no_mesh: bool,
    /// IPv4 alone.
    #[arg(long)]
    no_ipv6: bool,
    /// A variable for every ztunnel, e.g. SECRET_TTL=60s; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    ztunnel_env: Vec<String>,
}

/// How long processes may take to end when all ends.
pub(crate) const GRACE: Duration = Duration::from_secs(3);
/// The image of the test server that comes with the mesh.
const ECHO_IMAGE: &str = "ambit.dev/echo";

/// Runs the sandbox until a signal, or through the demonstration.
pub(crate) async fn run(options: Options) -> Result<()> {
    let terminal = Terminal::standard();
    let mut signals = Signals::new()?;
    let sandbox_options = sandbox_options(&options)?;
    if options.demo {
        return tokio::select! {
            done = demo::run(sandbox_options, &options.dir, terminal) => done,
            () = signals.any() => bail!("interrupted"),
        };
    }
    let sandbox = tokio::select! {
        started = Sandbox::start(sandbox_options) => started.map_err(one_line)?,
        () = signals.any() => bail!("interrupted"),
    };
    let name = sandbox.instance().name().to_owned();
    terminal.line(
        Style::Title,
        &format!("up; Ctrl-C ends it. Nodes and pods: ip netns list | grep ambit-{name}-"),
    );
    let events = sandbox.events();
    tokio::select! {
        () = tell(events, terminal) => {}
        () = signals.any() => {}
    }
    terminal.line(Style::Title, "ending");
    sandbox.stop(GRACE).await.map_err(one_line)
}

fn sandbox_options(options: &Options) -> Result<SandboxOptions> {
    let dir = &options.dir;
    ensure!(dir.is_dir(), "{} is no directory: name one with Kubernetes YAML", dir.display());
    let binaries = Binaries::beside_this().context("this program's own path is unknown")?;
    let echo = binaries.controller.with_file_name("echo");
    let mut images = Images::from([(ECHO_IMAGE.to_owned(), vec![echo.display().to_string()])]);
    for (image, program) in pairs(&options.image, "--image", "IMAGE=PROGRAM")? {
        images.insert(image, program.split_whitespace().map(str::to_owned).collect());
    }
    let mut made = SandboxOptions::new(Source::Directory(dir.clone()));
    if !options.no_mesh {
        made = made.with_mesh(binaries);
    }
    if let Some(mesh) = &mut made.mesh {
        mesh.ztunnel_env = pairs(&options.ztunnel_env, "--ztunnel-env", "NAME=VALUE")?;
    }
    made.instance = Some(options.name.clone());
    made.nodes = (1..=options.nodes).map(|number| format!("node-{number}")).collect();
    made.images = images;
    made.ipv6 = !options.no_ipv6;
    Ok(made)
}

fn pairs(texts: &[String], option: &str, form: &str) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| {
        let (key, value) = text
            .split_once('=')
            .with_context(|| format!("{option} {text:?} is not of the form {form}"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    texts.iter().map(pair).collect()
}

/// One line for each thing that changes.
async fn tell(mut events: broadcast::Receiver<Event>, terminal: Terminal) {
    loop {
        match events.recv().await {
            Ok(event) => terminal.line(style(&event), &event.to_string()),
            Err(RecvError::Lagged(count)) => {
                terminal.line(Style::Faint, &format!("… {count} lines left out"));
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn style(event: &Event) -> Style {
    match event {
        Event::PodReady { .. } => Style::Good,
        Event::Refused { .. }
        | Event::PodProblem { .. }
        | Event::PodRestarted { .. }
        | Event::Component { .. } => Style::Bad,
        Event::Unused { .. } => Style::Faint,
        _ => Style::Plain,
    }
}

/// An error of the sandbox with its causes.
pub(crate) fn one_line(error: ambit_sandbox::Error) -> anyhow::Error {
    anyhow::Error::msg(error.line())
}
