//! What a proxy process does before it can carry a byte: it reads its environment, finds its control plane and whoever
//! signs its certificates, and starts its workers. Node tunnel and waypoint share it.

mod accept;
mod certificates;
mod control_plane;
mod env;
mod memory;
mod node;
mod shortage;
mod turns;
mod updates;
mod workers;

pub use accept::accept;
pub use certificates::{
    Certificates, InvalidSigner, Requester, Signer, certificate_source, follow_roots, revocations,
};
pub use control_plane::{ControlPlane, xds};
pub use env::{ConfigError, Env};
pub use memory::give_back_memory;
pub use node::{Node, Ports, drain_deadline};
pub use shortage::Shortage;
pub use turns::{Crowded, Turns};
pub use updates::{synced, update};
pub use workers::{Load, Worker, Workers, worker_count};
