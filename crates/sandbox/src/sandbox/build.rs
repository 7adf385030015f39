//! Puts a sandbox together, on its own thread.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use ambit_redirect::{PROBE_V4, PROBE_V6};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};

use super::first::{First, first, node_names};
use super::{Options, Sandbox};
use crate::cluster::{Objects, PodKey};
use crate::dns::{DnsServer, Zone};
use crate::error::Error;
use crate::event::Event;
use crate::gateways::Gateways;
use crate::instance::Instance;
use crate::keeper::layers::Layers;
use crate::keeper::{Command, Keeper, Node, View};
use crate::mesh::{Agent, Mesh, Places, Settings, Tokens};
use crate::pod::runner::Report;
use crate::publish::Publisher;
use crate::room::Room;
use crate::services::{Addresses, DNS_V4, DNS_V6};
use crate::topology::{NodeNet, Topology, TopologyOptions, add_addresses, kernel_has_ipv6};

/// How many events a slow listener may be behind.
const EVENTS: usize = 4096;

/// What the thread hands out when everything is up.
struct Parts {
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<Arc<View>>,
    runtime: Handle,
    mesh: Option<Arc<Mesh>>,
    nodes: BTreeMap<String, Arc<NodeNet>>,
    fabric: Arc<Room>,
    instance: Arc<Instance>,
    ipv6: bool,
    written: Arc<Notify>,
}

/// Everything but the mesh's programs.
struct Built {
    keeper: Keeper,
    inbox: mpsc::Receiver<Command>,
    reports: mpsc::Receiver<(PodKey, String, Report)>,
    parts: Parts,
}

pub(super) async fn start(options: Options) -> Result<Sandbox, Error> {
    let (events, early) = broadcast::channel(EVENTS);
    let (ready, answer) = oneshot::channel();
    let sender = events.clone();
    let thread = std::thread::Builder::new()
        .name("sandbox".to_owned())
        .spawn(move || thread(options, sender, ready))
        .map_err(Error::namespaces)?;
    let mut starting = Starting { answer, thread: Some(thread) };
    let parts = (&mut starting.answer).await.map_err(|_| Error::Stopping)??;
    Ok(Sandbox {
        commands: Some(parts.commands),
        events,
        early: Mutex::new(Some(early)),
        view: parts.view,
        runtime: parts.runtime,
        thread: starting.thread.take(),
        mesh: parts.mesh,
        nodes: parts.nodes,
        fabric: parts.fabric,
        instance: parts.instance,
    })
}

/// A sandbox on its way up. Who drops it waits until all is gone again.
struct Starting {
    answer: oneshot::Receiver<Result<Parts, Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.answer.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn thread(
    options: Options,
    events: broadcast::Sender<Event>,
    ready: oneshot::Sender<Result<Parts, Error>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(Error::namespaces(error)));
            return;
        }
    };
    runtime.block_on(async {
        if let Err((ready, error)) = live(options, events, ready).await {
            let _ = ready.send(Err(error));
        }
    });
}

/// The answer that [`start`] waits for.
type Ready = oneshot::Sender<Result<Parts, Error>>;

/// Runs a sandbox until it is stopped.
async fn live(
    options: Options,
    events: broadcast::Sender<Event>,
    mut ready: Ready,
) -> Result<(), (Ready, Error)> {
    let ipv6 = options.ipv6 && kernel_has_ipv6();
    let options = Options { ipv6, ..options };
    let settings = options.mesh.clone().map(Arc::new);
    let built =
        first(&options.source).and_then(|first| Ok((build(options, &first, &events)?, first)));
    let (built, first) = match built {
        Ok(built) => built,
        Err(error) => return Err((ready, error)),
    };
    let Built { mut keeper, inbox, reports, mut parts } = built;
    // Objects are there when the controller starts, and pods get ready while the mesh does.
    keeper.begin(first.files);
    let mut running = std::pin::pin!(keeper.run(inbox, reports));
    let mesh = tokio::select! {
        _ = &mut running => return Err((ready, Error::Stopping)),
        () = ready.closed() => return Ok(()),
        mesh = start_mesh(settings.as_ref(), &parts, &events) => mesh,
    };
    match mesh {
        Ok(mesh) => parts.mesh = mesh.clone(),
        Err(error) => return Err((ready, error)),
    }
    if let Some(source) = first.follow {
        tokio::spawn(source.follow(parts.commands.downgrade()));
    }
    let mesh = parts.mesh.clone();
    if ready.send(Ok(parts)).is_err() {
        return Ok(());
    }
    // Whoever drops a sandbox without stopping it wants it gone at once.
    if running.await
        && let Some(mesh) = mesh
    {
        mesh.stop().await;
    }
    Ok(())
}

async fn start_mesh(
    settings: Option<&Arc<Settings>>,
    parts: &Parts,
    events: &broadcast::Sender<Event>,
) -> Result<Option<Arc<Mesh>>, Error> {
    let Some(settings) = settings else { return Ok(None) };
    let nodes: Vec<Arc<NodeNet>> = parts.nodes.values().cloned().collect();
    let places = places(&parts.instance, parts.ipv6);
    let mesh =
        Mesh::start(settings, &places, (&parts.fabric, &nodes), (events, &parts.written)).await?;
    Ok(Some(Arc::new(mesh)))
}

fn places(instance: &Instance, ipv6: bool) -> Places {
    Places { ipv6, dir: instance.dir().to_owned(), objects: instance.dir().join("objects") }
}

fn build(
    options: Options,
    first: &First,
    events: &broadcast::Sender<Event>,
) -> Result<Built, Error> {
    if let Some(settings) = &options.mesh {
        settings.binaries.check()?;
    }
    let mut topology = Topology::new(TopologyOptions {
        instance: options.instance.clone(),
        ipv6: options.ipv6,
        congestion_control: options.congestion_control.clone(),
    })?;
    let instance = topology.instance().clone();
    let places = places(&instance, options.ipv6);
    let zone = Arc::new(RwLock::new(Arc::new(Zone::default())));
    let nodes = make_nodes(&mut topology, &node_names(&options, first), (&options, &zone))?;
    let nets: Vec<Arc<NodeNet>> = nodes.values().map(|node| node.net.clone()).collect();
    places.make(&nets)?;
    let gateways = gateways(&options, &places, &nets)?;
    let publisher = Publisher::new(places.objects)?;
    let (commands, inbox) = mpsc::channel(16);
    let (report, reports) = mpsc::channel(256);
    let (view, watched) = watch::channel(Arc::new(View::default()));
    let parts = Parts {
        commands,
        view: watched,
        runtime: Handle::current(),
        mesh: None,
        nodes: nodes.iter().map(|(name, node)| (name.clone(), node.net.clone())).collect(),
        fabric: topology.fabric().clone(),
        instance,
        ipv6: options.ipv6,
        written: publisher.changed(),
    };
    let keeper = Keeper {
        topology,
        nodes,
        images: Arc::new(options.images),
        gateways,
        ipv6: options.ipv6,
        zone,
        publisher,
        events: events.clone(),
        view,
        layers: Layers::default(),
        objects: watch::channel(Arc::new(Objects::default())).0,
        pods: BTreeMap::new(),
        addresses: Addresses::default(),
        reports: report,
        said: BTreeSet::new(),
        unused_images: BTreeSet::new(),
        outbox: Vec::new(),
        stopping: None,
    };
    Ok(Built { keeper, inbox, reports, parts })
}

fn gateways(
    options: &Options,
    places: &Places,
    nodes: &[Arc<NodeNet>],
) -> Result<Option<Gateways>, Error> {
    let Some(settings) = options.mesh.clone().map(Arc::new) else { return Ok(None) };
    let tokens = Tokens::new(places.clone(), nodes)?;
    Ok(Some(Gateways { settings, places: places.clone(), tokens }))
}

/// Makes the nodes, each with its name server.
fn make_nodes(
    topology: &mut Topology,
    names: &[String],
    (options, zone): (&Options, &Arc<RwLock<Arc<Zone>>>),
) -> Result<BTreeMap<String, Node>, Error> {
    let places = places(topology.instance(), options.ipv6);
    let mut nodes = BTreeMap::new();
    for name in names {
        let net = topology.add_node(name)?;
        add_addresses(&net, &own_addresses(options.ipv6))?;
        let failed =
            |source| Error::Start { program: format!("the name server of {name}"), source };
        let dns = DnsServer::start(net.room(), options.ipv6, zone.clone()).map_err(failed)?;
        let meshed = options.mesh.is_some();
        let agent = meshed.then(|| Arc::new(Agent::new(places.agent_socket(name))));
        nodes.insert(name.clone(), Node { net, agent, _dns: dns, rules: String::new() });
    }
    Ok(nodes)
}

/// What every node answers to beside its own addresses: DNS, and the source of its health probes.
fn own_addresses(ipv6: bool) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = vec![DNS_V4.into(), PROBE_V4.into()];
    if ipv6 {
        addresses.extend([IpAddr::from(DNS_V6), PROBE_V6.into()]);
    }
    addresses
}
