//! The harness of the integration tests.
//!
//! [`Mesh`] is the smallest real mesh: network namespaces, capture rules, and one `ztunnel` process per node that is
//! fed from a state file, with this process in the agent's place. [`Caller`] and [`Peer`] are node proxies that this
//! process plays itself. [`eventually`] waits for conditions.

mod foreign;
pub mod http2;
mod mesh;
mod need;
mod neighbour;
mod peer;
mod pod;
mod traffic;
mod usage;
mod wait;

pub use foreign::foreign;
pub use mesh::{Mesh, MeshBuilder};
pub use need::{binary, find, missing};
pub use neighbour::{Latencies, Neighbour, Percentiles};
pub use peer::{Answer, Caller, Peer, Seen, Tunnel, connect_request, greet, identity};
pub use pod::{Finished, Running, run_in, start_in};
pub use traffic::{Account, Traffic, echo_bytes, echoes, open};
pub use usage::Usage;
pub use wait::{DEADLINE, eventually, eventually_within, soon};
