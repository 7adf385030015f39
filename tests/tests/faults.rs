//! Faults, with traffic running: what its users may notice of each of them, and no more.

mod clock;
mod control;
mod crash;
mod network;
mod peers;
mod policies;
mod resources;
mod upgrade;

use ambit_tests::{Mesh, MeshBuilder, Traffic};

/// The server's port.
const PORT: u16 = 8080;

/// A client and a server on different nodes.
fn apart() -> MeshBuilder {
    Mesh::builder().pod("client", "n1").pod("server", "n2")
}

/// Traffic from a pod to the server, whose program this starts.
async fn traffic(mesh: &Mesh, from: &str) -> Traffic {
    let traffic = Traffic::start(mesh.pod(from).room().netns(), mesh.at("server", PORT));
    traffic.goes_on(10).await;
    traffic
}

/// The value of a metric's only series, or of the one with `labels` in it.
fn value(metrics: &str, name: &str, labels: &str) -> f64 {
    let series = metrics.lines().filter(|line| line.starts_with(name) && line.contains(labels));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
