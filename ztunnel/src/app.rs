//! The composition root: every part is made here and handed what it needs.

use std::sync::Arc;
use std::time::Duration;

use ambit_bootstrap::{
    Requester, Workers, certificate_source, follow_roots, give_back_memory, revocations,
};
use ambit_identity::Identities;
use ambit_lifecycle::{Drain, Ready, Shutdown, ShutdownReason};
use ambit_state::{Reader, Store};
use ambit_telemetry::{LogHandle, Reporter};
use ambit_tunnel::Security;
use ambit_zds::DnsConfig;
use anyhow::Context as _;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::admission::Limits;
use crate::config::{Config, ProxyMode};
use crate::context::Context;
use crate::feed::SharedStore;
use crate::last_known::LastKnown;
use crate::local_state::LocalFile;
use crate::metrics::{Metrics, Shares};
use crate::pod::PodInfo;
use crate::pods::{LocalPods, Pods};
use crate::{agent, authorize, endpoints, feed, wiring};

/// How often metric series of departed workloads are dropped.
const SWEEP: Duration = Duration::from_secs(300);
/// How often the byte counters of running connections are brought up to date.
const REPORT: Duration = Duration::from_secs(1);

/// Runs the node tunnel until it is told to end. The calling runtime becomes the control thread.
///
/// # Errors
/// Something that the process cannot do without is not there; the message says what to do.
pub async fn run(config: Config, logs: LogHandle) -> anyhow::Result<()> {
    let mut shutdown = Shutdown::install()?;
    let ready = Ready::new();
    let starting = ready.register("proxy");
    wiring::check_privileges(&config)?;
    let workers = Workers::start(config.workers).context("starting the worker threads")?;
    let mut registry = Registry::default();
    let store = Store::new(ambit_state::Config { node: config.node.name.clone() });
    let context = context(config, &mut registry, &workers, store.reader())?;
    let shares = Box::new(Shares(Arc::downgrade(&context)));
    registry.sub_registry_with_prefix("ambit").register_collector(shares);

    feed_state(&context, Arc::new(Mutex::new(store)), &ready, &mut registry)?;
    tokio::spawn(authorize::recheck_on_change(context.clone()));
    let signer = context.config.certificates.signer.clone();
    tokio::spawn(follow_roots(signer, context.identities.clone()));
    tokio::spawn(prefetch(context.clone()));
    tokio::spawn(account(context.clone()));
    tokio::spawn(give_back_memory());
    let http = Drain::default();
    endpoints::serve(&context, registry, (&ready, logs, shutdown.trigger()), &http)?;
    starting.done();

    let mut pods = Pods::new(context.clone());
    let reason = serve_pods(&context.config, &mut pods, &ready, &mut shutdown).await?;
    let grace = context.config.drain_deadline;
    tracing::info!(%reason, ?grace, "draining");
    tokio::select! {
        () = pods.close(Instant::now() + grace) => {}
        reason = shutdown.wait() => tracing::info!(%reason, "not waiting any longer"),
    }
    let connections_cut = pods.end().await;
    workers.stop();
    tracing::info!(connections_cut, "stopped");
    Ok(())
}

fn context(
    config: Config,
    registry: &mut Registry,
    workers: &Workers,
    state: Reader,
) -> anyhow::Result<Arc<Context>> {
    let revocations = revocations(&config.certificates)?;
    let requester = match config.mode {
        ProxyMode::Shared { .. } => Requester::Node,
        ProxyMode::Dedicated { .. } => Requester::Own,
    };
    let source = certificate_source(&config.certificates, &config.node.cluster, requester)?;
    let identities = Identities::new(source, revocations.clone());
    identities.register(registry.sub_registry_with_prefix("ambit"));
    let metrics = Metrics::register(registry);
    let security = Security {
        identities: identities.clone(),
        revocations: config.certificates.crl.is_some().then(|| revocations.clone()),
        hbone: config.hbone.clone(),
        revoked: Arc::new({
            let metrics = metrics.clone();
            move || metrics.revoked(Reporter::Source)
        }),
    };
    Ok(Arc::new(Context {
        metrics,
        dns: wiring::dns(&config, state.clone(), registry),
        pods: LocalPods::default(),
        workers: workers.handles(),
        limits: Limits::new(config.pod_connections, wiring::descriptors()),
        config,
        state,
        identities,
        revocations,
        security,
    }))
}

/// Starts everything that writes the state: the last run, the state file, the control plane.
fn feed_state(
    context: &Arc<Context>,
    store: SharedStore,
    ready: &Ready,
    registry: &mut Registry,
) -> anyhow::Result<()> {
    let Context { config, state, identities, .. } = &**context;
    let metrics = ambit_xds::Metrics::register(registry.sub_registry_with_prefix("istio"));
    let mut saved = None;
    if let Some(dir) = &config.state_dir {
        let last_known =
            LastKnown::open(dir).with_context(|| format!("AMBIT_STATE_DIR={}", dir.display()))?;
        saved = last_known.load().filter(|_| config.discovery.xds.is_some());
        let credentials = last_known.load_credentials(identities);
        if let Some(saved) = &saved {
            store.lock().apply(saved.updates());
            tracing::info!(
                workloads = saved.state.workloads.len(),
                credentials,
                "last known state restored"
            );
        }
        tokio::spawn(last_known.keep(state.clone(), identities.clone()));
    }
    if let Some(path) = &config.discovery.file {
        let (file, updates) = LocalFile::open(path.clone()).context("LOCAL_XDS_PATH")?;
        store.lock().apply(updates);
        tokio::spawn(feed::follow_file(store.clone(), file));
    }
    if let Some(service) = config.discovery.xds.clone() {
        tokio::spawn(feed::follow_control_plane(store, config.clone(), service, (metrics, saved)));
    }
    let task = ready.register("state manager");
    let state = state.clone();
    tokio::spawn(async move {
        let mut versions = state.changed();
        while !state.snapshot().synced() && versions.changed().await.is_ok() {}
        task.done();
    });
    Ok(())
}

/// Captures pods until the process shall end.
async fn serve_pods(
    config: &Config,
    pods: &mut Pods,
    ready: &Ready,
    shutdown: &mut Shutdown,
) -> anyhow::Result<ShutdownReason> {
    match &config.mode {
        ProxyMode::Shared { agent_socket } => tokio::select! {
            reason = shutdown.wait() => Ok(reason),
            never = agent::follow(agent_socket, pods, ready) => match never {},
        },
        ProxyMode::Dedicated { namespace, name, service_account } => {
            pods.add_own(PodInfo {
                name: name.clone(),
                namespace: namespace.clone(),
                service_account: service_account.clone(),
                dns: DnsConfig::default(),
            })?;
            Ok(shutdown.wait().await)
        }
    }
}

/// Keeps certificates of this node's workloads ready before they are needed, and lets go of those that left.
async fn prefetch(context: Arc<Context>) {
    let mut versions = context.state.policies_changed();
    let mut known = std::collections::HashSet::new();
    loop {
        versions.mark_unchanged();
        let snapshot = context.state.snapshot();
        let local = snapshot
            .local_workloads()
            .filter(|w| w.protocol == ambit_model::TunnelProtocol::Hbone || w.native_tunnel);
        let wanted: std::collections::HashSet<_> = local.map(|w| w.identity()).collect();
        for identity in wanted.difference(&known) {
            context.identities.prefetch(identity);
        }
        for identity in known.difference(&wanted) {
            context.identities.forget(identity);
        }
        context.metrics.policy.retained.set(snapshot.retained_policies().count() as i64);
        context.metrics.policy.unknown.set(snapshot.unknown_policies().count() as i64);
        known = wanted;
        drop(snapshot);
        if versions.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps the byte counters of running connections up to date and drops series that nobody uses any more.
async fn account(context: Arc<Context>) {
    let mut swept = Instant::now();
    loop {
        tokio::time::sleep(REPORT).await;
        for pod in context.pods.all() {
            pod.connections.report();
        }
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            let dropped = context.metrics.traffic.sweep();
            tracing::debug!(dropped, "dropped metric series of departed workloads");
        }
    }
}
