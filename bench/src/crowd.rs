//! A proxy that learns of a very large mesh: how long it takes, and how much memory it needs.

mod mesh;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_proto::discovery::Resource;
use ambit_sandbox::{Topology, TopologyOptions};
use anyhow::{Context as _, anyhow};

use crate::figure::{Bar, Figure, Limit, Unit};
use crate::memory;
use crate::peer::{Peer, Ztunnel};
use crate::scenario::WORKLOADS_MEMORY;
use crate::testbed::{Feed, Proxy};
use crate::usage;
use server::Server;

/// How long a proxy may take to know everything.
const LIMIT: Duration = Duration::from_secs(120);

/// What a proxy came to.
#[derive(Clone, Copy, Debug)]
struct Start {
    peer: &'static str,
    /// Until it was ready and had acknowledged everything, seconds.
    took: f64,
    cpu: f64,
    /// The most memory meanwhile, bytes.
    peak: f64,
    /// After it has settled.
    resident: f64,
}

/// Starts every proxy with `workloads` pods in the mesh, one after the other.
///
/// # Errors
/// One does not start, or does not acknowledge what it is sent.
pub(crate) async fn figures(peers: &[Peer], workloads: u32) -> anyhow::Result<Vec<Figure>> {
    let resources: Arc<[Resource]> = mesh::resources(workloads).into();
    let mut starts = Vec::new();
    for (peer, ztunnel) in peers.iter().filter_map(|peer| Some((peer, peer.ztunnel.as_ref()?))) {
        let start = start((peer.name, ztunnel), resources.clone()).await;
        starts.push(start.with_context(|| format!("{workloads} workloads for {:?}", peer.name))?);
        eprintln!("{} knows {workloads} workloads", peer.name);
    }
    let figure = |title: &str, unit, value: fn(&Start) -> f64, bar| {
        let values = starts.iter().map(|start| (start.peer, Some(value(start))));
        Figure::new(format!("{workloads} workloads: {title}"), unit, values, bar)
    };
    let (of, most) = WORKLOADS_MEMORY;
    let bar = (workloads == of).then_some(Bar::Value(Limit::AtMost(most)));
    Ok(vec![
        figure("memory", Unit::Bytes, |start| start.resident, bar),
        figure("most memory at the start", Unit::Bytes, |start| start.peak, None),
        figure("start", Unit::Seconds, |start| start.took, None),
        figure("CPU of the start", Unit::Seconds, |start| start.cpu, None),
    ])
}

async fn start(
    (peer, ztunnel): (&'static str, &Ztunnel),
    resources: Arc<[Resource]>,
) -> anyhow::Result<Start> {
    let mut topology = Topology::new(TopologyOptions::default())?;
    let dir = topology.instance().dir().join(format!("{peer}-crowd"));
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    // The proxy's own node is one of the mesh's.
    let node = topology.add_node(mesh::NODE)?;
    let roots = dir.join("roots.pem");
    let mut server = Server::start(node.room(), resources, &roots)?;
    let began = Instant::now();
    let feed = Feed::ControlPlane { url: &server.url, roots: &roots };
    let proxy = Proxy::start(ztunnel, (&node, &[]), feed, &dir).await?;
    let all = tokio::time::timeout(LIMIT, server.acknowledged.wait_for(|done| *done)).await;
    let took = began.elapsed().as_secs_f64();
    all.map_err(|_| {
        anyhow!("it does not acknowledge them; its last words: {}", proxy.program.last_words())
    })??;
    let pid = proxy.program.pid();
    let (cpu, peak) = (usage::cpu_time(pid)?.as_secs_f64(), usage::peak(pid)? as f64);
    memory::settle(&[pid]).await?;
    let resident = usage::resident(pid)? as f64;
    Ok(Start { peer, took, cpu, peak, resident })
}
