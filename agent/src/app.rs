//! The composition root: every part is made here and handed what it needs.

use std::path::Path;
use std::sync::Arc;

use ambit_lifecycle::{
    Drain, HttpServer, ReadHandler, Ready, Router, Shutdown, bind_wildcard, metrics, text,
};
use ambit_net::NetNs;
use ambit_zds::Server;
use anyhow::Context;
use http::StatusCode;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Sender};

use crate::capture::{self, Capturer};
use crate::config::Config;
use crate::control::{ControlServer, Requests};
use crate::kubernetes::hands::Places;
use crate::kubernetes::start::{Node, start as start_kubernetes};
use crate::metrics::Metrics;
use crate::pod::{Defaults, Pod};
use crate::run_dir::{Record, RunDir};
use crate::runner::{Hands, Input, Runner};
use crate::state::{Addition, Event, State};
use crate::ztunnels;

/// Inputs that may wait for the state.
const INPUTS: usize = 1024;

/// Runs the agent until it is told to end. Captured pods stay captured then: only removing them undoes anything.
///
/// # Errors
/// Something that the process cannot do without is not there; the message says what to do.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut shutdown = Shutdown::install()?;
    let ready = Ready::new();
    let starting = ready.register("agent");
    let own_netns = own_netns()?;
    let run_dir = RunDir::open(&config.run_dir)?;
    let backend = capture::choose(config.backend).context("trying out the rules")?;

    let mut registry = Registry::default();
    metrics::register_process(&mut registry, "agent", None, vec![Handle::current()]);
    let metrics = Metrics::register(&mut registry);
    let http = Drain::default();
    let endpoints = HttpServer::new(
        "health and metrics",
        bind_wildcard(config.port)?,
        router(registry, &ready),
    )?;

    let defaults = Defaults::new(&config, own_netns.clone());
    let (inputs, inbox) = mpsc::channel(INPUTS);
    let capturer = Arc::new(Capturer::new(backend, run_dir));
    let ztunnels = bind(&config.ztunnel_socket)?;
    let requests =
        Arc::new(Requests::new(inputs.clone(), defaults.clone(), config.request_timeout));
    let control =
        ControlServer::bind(&config.run_dir, requests.clone()).context("control socket")?;

    let hands = Hands::new(capturer.clone(), metrics.clone(), inputs.clone());
    tokio::spawn(Runner::new(State::new(config.verify_interval), hands).run(inbox));
    // Before any ztunnel is told of all pods: it would drop those that are missing.
    let places = Places::default();
    restore(&capturer, &defaults, &inputs, &places).await?;
    if let Some(kubernetes) = &config.kubernetes {
        let starting = ready.register("kubernetes");
        let node = Node { netns: own_netns, backend, places, requests, starting };
        start_kubernetes(&config, kubernetes, node, &metrics).await?;
    }
    endpoints.serve(&http);
    tokio::spawn(ztunnels::accept(ztunnels, inputs));
    tokio::spawn(control.serve());
    starting.done();

    let reason = shutdown.wait().await;
    http.end();
    tracing::info!(%reason, "ending; captured pods stay captured");
    Ok(())
}

fn own_netns() -> anyhow::Result<NetNs> {
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "no privileges to capture pods: run as root (CAP_SYS_ADMIN and CAP_NET_ADMIN)"
    );
    NetNs::current().context("reading the own network namespace: mount /proc")
}

fn bind(socket: &Path) -> anyhow::Result<Server> {
    if let Some(directory) = socket.parent() {
        std::fs::create_dir_all(directory).with_context(|| {
            format!("making the directory of ztunnel's socket, {}", directory.display())
        })?;
    }
    Ok(Server::bind(socket)?)
}

fn router(registry: Registry, ready: &Ready) -> Router {
    let ready = ready.clone();
    metrics::router(Arc::new(registry))
        .get("/healthz", "whether this process runs", ReadHandler(|_| text(StatusCode::OK, "ok\n")))
        .get(
            "/readyz",
            "whether it has started",
            ReadHandler(move |_| match ready.pending().as_slice() {
                [] => text(StatusCode::OK, "ready\n"),
                pending => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("not ready, pending: {}\n", pending.join(", ")),
                ),
            }),
        )
}

/// Takes up the pods that were captured when the agent last ran.
async fn restore(
    capturer: &Arc<Capturer>,
    defaults: &Defaults,
    inputs: &Sender<Input>,
    places: &Places,
) -> anyhow::Result<()> {
    for record in capturer.remembered().context("reading the records of captured pods")? {
        let uid = record.pod.uid.clone();
        match reopen(record, defaults) {
            Ok((pod, netns)) => {
                tracing::info!(uid, "taking up a pod of before");
                places.set(&uid, pod.spec.netns.clone());
                let pod = Arc::new(pod);
                let addition = Addition { request: None, pod, netns, restored: true };
                inputs.send(Input::Event(Event::Add(addition))).await?;
            }
            Err(problem) => {
                tracing::info!(uid, problem, "a pod of before is gone");
                capturer.forget(&uid);
            }
        }
    }
    Ok(())
}

fn reopen(record: Record, defaults: &Defaults) -> Result<(Pod, NetNs), String> {
    let (pod, netns) =
        Pod::open(record.pod.clone(), defaults).map_err(|invalid| invalid.to_string())?;
    if !record.is_of(netns.id()) {
        return Err("its path leads to another network namespace now".into());
    }
    Ok((pod, netns))
}
