//! The composition root: every part is made here and handed what it needs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_bootstrap::{
    Requester, Worker, Workers, accept, certificate_source, follow_roots, give_back_memory,
    revocations,
};
use ambit_hbone::Pool;
use ambit_identity::Identities;
use ambit_lifecycle::{Drain, Ready, Shutdown};
use ambit_model::{NamespacedHostname, Str};
use ambit_net::{ListenOptions, TcpOptions, Transparent, listen};
use ambit_state::Store;
use ambit_telemetry::LogHandle;
use ambit_tunnel::Security;
use anyhow::Context as _;
use prometheus_client::registry::Registry;

use crate::config::Config;
use crate::context::{Context, Local};
use crate::destination::{Destinations, Place};
use crate::labels::KnownLabels;
use crate::metrics::Metrics;
use crate::rules::Book;
use crate::spans::Spans;
use crate::{downstream, endpoints, feed, front};

/// How often idle connections are closed and metric series that nobody uses are dropped.
const SWEEP: Duration = Duration::from_secs(5);

/// Runs the waypoint until it is told to end. The calling runtime becomes the control thread.
///
/// # Errors
/// Something that the process cannot do without is not there; the message says what to do.
pub async fn run(config: Config, logs: LogHandle) -> anyhow::Result<()> {
    let mut shutdown = Shutdown::install()?;
    let ready = Ready::new();
    let starting = ready.register("proxy");
    let state_task = ready.register("state manager");
    let workers = Workers::start(config.workers).context("starting the worker threads")?;
    let mut registry = Registry::default();
    let xds_metrics = ambit_xds::Metrics::register(registry.sub_registry_with_prefix("istio"));
    let (context, store, book) = context(config, &mut registry, &workers)?;

    let (synced, all_synced) = tokio::sync::oneshot::channel();
    tokio::spawn(feed::follow(context.config.clone(), xds_metrics, (store, book), move || {
        // Nobody waits any more if the process is ending.
        let _ = synced.send(());
    }));
    let signer = context.config.certificates.signer.clone();
    tokio::spawn(follow_roots(signer, context.identities.clone()));
    context.identities.prefetch(&context.identity);
    tokio::spawn(sweep(context.clone()));
    tokio::spawn(give_back_memory());
    let http = Drain::default();
    endpoints::serve(&context, registry, (&ready, logs, shutdown.trigger()), &http)?;

    // Nobody is served before it is known how.
    tokio::select! {
        _ = all_synced => state_task.done(),
        reason = shutdown.wait() => {
            tracing::info!(%reason, "ended before the controller had said anything");
            return Ok(());
        }
    }
    let drain = Drain::default();
    serve(&context, &drain)?;
    starting.done();
    tracing::info!(gateway = %context.config.gateway, "serving");

    let reason = shutdown.wait().await;
    let grace = context.config.drain_deadline;
    tracing::info!(%reason, ?grace, "draining");
    tokio::select! {
        _ = drain.finish(tokio::time::Instant::now() + grace) => {}
        reason = shutdown.wait() => tracing::info!(%reason, "not waiting any longer"),
    }
    workers.stop();
    tracing::info!("stopped");
    Ok(())
}

fn context(
    config: Config,
    registry: &mut Registry,
    workers: &Workers,
) -> anyhow::Result<(Arc<Context>, Store, Book)> {
    let revocations = revocations(&config.certificates)?;
    let cluster = &config.node.cluster;
    let source = certificate_source(&config.certificates, cluster, Requester::Own)?;
    let identities = Identities::new(source, revocations.clone());
    identities.register(registry.sub_registry_with_prefix("ambit"));
    let metrics = Metrics::register(registry);
    let store = Store::new(ambit_state::Config { node: "-".into() });
    let labels = KnownLabels::default();
    let place = Place {
        network: config.node.network.clone(),
        address: config.node.instance_ip.parse().ok(),
        workers: workers.handles().len(),
    };
    let destinations = Destinations::new(store.reader(), labels.clone(), place);
    let book = Book::new(destinations.clone(), labels.clone());
    let namespace: Str = config.node.pod_namespace.as_str().into();
    let hostname: Str =
        format!("{}.{namespace}.svc.{}", config.gateway, config.node.cluster_domain).into();
    let context = Arc::new(Context {
        identity: config.identity(),
        own: NamespacedHostname::new(namespace, hostname),
        state: store.reader(),
        rules: book.reader(),
        destinations,
        labels,
        security: Security {
            identities: identities.clone(),
            revocations: config.certificates.crl.is_some().then_some(revocations),
            hbone: config.hbone.clone(),
            revoked: Arc::new({
                let metrics = metrics.clone();
                move || metrics.revoked()
            }),
        },
        identities,
        metrics,
        spans: Spans::start(&config.tracing, registry),
        workers: workers.handles(),
        config,
    });
    Ok((context, store, book))
}

/// Listens on every worker.
fn serve(context: &Arc<Context>, drain: &Drain) -> anyhow::Result<()> {
    let local = |(number, worker): (usize, &Worker)| {
        let tunnels = Pool::new(context.config.hbone.clone());
        let turns = worker.turns();
        Arc::new(Local { context: context.clone(), tunnels, turns, worker: number })
    };
    let locals: Arc<[Arc<Local>]> = context.workers.iter().enumerate().map(local).collect();
    tokio::spawn(front::follow(context.clone(), locals.clone(), drain.clone()));
    if context.config.hbone_port == 0 {
        return Ok(());
    }
    let address = SocketAddr::new(context.config.wildcard(), context.config.hbone_port);
    let options = ListenOptions {
        transparent: Transparent::Never,
        backlog: 1024,
        tcp: TcpOptions::default().shared(),
        ..Default::default()
    };
    for (number, worker) in context.workers.iter().enumerate() {
        let listener = listen(address, &options)
            .with_context(|| format!("listening on {address}; HBONE_PORT chooses another port"))?;
        let (locals, drain) = (locals.clone(), drain.clone());
        let shortage = context.metrics.shortage.clone();
        let tasks = drain.tasks.clone();
        let accepting = async move {
            match listener.into_tokio() {
                Ok(listener) => {
                    let handle =
                        |tcp, peer| downstream::dispatch(&locals, &drain, number, (tcp, peer));
                    let closing = drain.closing.clone();
                    accept(listener, closing, &shortage, tokio::task::yield_now, handle).await;
                }
                Err(error) => tracing::error!(%error, "cannot listen"),
            }
        };
        tasks.spawn_on(accepting, &worker.handle);
    }
    Ok(())
}

/// Closes idle connections and drops metric series that nobody uses any more.
async fn sweep(context: Arc<Context>) {
    let mut rounds = 0_u64;
    loop {
        tokio::time::sleep(SWEEP).await;
        let now = Instant::now();
        for destination in context.destinations.all() {
            let idle = destination.settings().pool.idle_timeout;
            let idle = idle.unwrap_or(context.config.limits.idle);
            destination.known_endpoints().iter().for_each(|endpoint| endpoint.sweep(idle, now));
        }
        rounds += 1;
        if rounds.is_multiple_of(60) {
            let dropped = context.metrics.requests.sweep() + context.metrics.traffic.sweep();
            tracing::debug!(dropped, "dropped metric series that nobody uses");
        }
    }
}
