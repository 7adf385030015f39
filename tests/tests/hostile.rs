//! Peers that mean harm, pods that take more than their share, and what their neighbours notice of it.
//!
//! What a CONNECT is answered and whose certificates are taken is in [`super::wire`]; here is what costs the node.

mod frames;
mod handshakes;
mod plaintext;
mod shares;
mod windows;

use std::net::SocketAddr;
use std::time::Duration;

use ambit_tests::{Latencies, Mesh, MeshBuilder, Percentiles, Usage};

/// How long the neighbours are watched while nothing happens.
const QUIET: Duration = Duration::from_secs(2);
/// How much longer their p99 may be in a storm. Two cores serve it and whoever makes it, too.
const RATIO: f64 = 20.0;
/// What a p99 may be in any case.
const UNNOTICED: Duration = Duration::from_millis(60);
/// Where neighbours are served.
const PORT: u16 = 8000;

/// `caller` is no pod of the mesh, and attacks `server`; their neighbours `asker` and `beside` talk through the same two
/// tunnels.
fn mesh() -> MeshBuilder {
    Mesh::builder()
        .plain_pod("caller", "n1")
        .pod("asker", "n1")
        .pod("server", "n2")
        .pod("beside", "n2")
}

/// Starts the neighbours' server, and says where it is.
async fn neighbours(mesh: &Mesh) -> SocketAddr {
    mesh.serve_neighbours("beside", PORT);
    let to = mesh.at("beside", PORT);
    // The first connections have handshakes to make.
    served(&mesh.measure("asker", to, Duration::from_millis(200)).await);
    to
}

/// All answers came, whatever happened meanwhile.
fn served(beside: &Latencies) {
    println!("beside: kept {:?}; fresh {:?}", beside.kept, beside.fresh);
    assert!(beside.failures.is_empty(), "{:#?}", beside.failures);
    let longest = beside.kept.at(100).max(beside.fresh.at(100));
    assert!(longest < Duration::from_secs(5), "somebody waits {longest:?}");
}

/// Runs a storm while neighbours ask, whose answers have to come about as quickly as in peace.
///
/// Somebody else may need the machine at the wrong moment: one of three storms has to pass.
async fn unharmed<T>(mesh: &Mesh, to: SocketAddr, mut storm: impl AsyncFnMut() -> T) -> T {
    let mut rounds = 3;
    loop {
        let quiet = mesh.measure("asker", to, QUIET).await;
        println!("in peace: kept {:?}; fresh {:?}", quiet.kept, quiet.fresh);
        let watched = mesh.neighbour("asker", to);
        let done = storm().await;
        let beside = watched.stop().await;
        served(&beside);
        let pairs = [(&quiet.kept, &beside.kept), (&quiet.fresh, &beside.fresh)];
        if pairs.iter().all(|(quiet, beside)| is_bounded(quiet, beside)) {
            return done;
        }
        rounds -= 1;
        assert!(rounds > 0, "neighbours wait too long");
    }
}

fn is_bounded(quiet: &Percentiles, beside: &Percentiles) -> bool {
    let (before, during) = (quiet.at(99), beside.at(99));
    let ratio = during.as_secs_f64() / before.as_secs_f64();
    println!("p99 of {during:.1?} is {ratio:.1} times that of peace");
    ratio < RATIO || during < UNNOTICED
}

/// What a node's tunnel has counted in the series that begin with `name` and have all of `labels`.
async fn counted(mesh: &Mesh, node: &str, name: &str, labels: &[&str]) -> u64 {
    let metrics = mesh.metrics(node).await;
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum::<f64>() as u64
}

/// What something cost a tunnel.
struct Cost {
    pid: u32,
    before: Usage,
}

impl Cost {
    fn of(mesh: &Mesh, node: &str) -> Self {
        let pid = mesh.pid(node);
        Usage::forget_peak(pid);
        Self { pid, before: Usage::of(pid) }
    }

    /// Says what it was: the time computed, and the bytes that were needed at most.
    fn told(&self, what: &str) -> (Duration, u64) {
        let now = Usage::of(self.pid);
        let (cpu, memory) =
            (now.cpu - self.before.cpu, now.peak.saturating_sub(self.before.memory));
        let descriptors = now.descriptors;
        println!("{what}: {cpu:?} of CPU, {} KiB at most, {descriptors} descriptors", memory >> 10);
        (cpu, memory)
    }
}
