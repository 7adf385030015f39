//! The harness of the integration tests.
//!
//! [`Mesh`] is the smallest real mesh: network namespaces, capture rules, and one `ztunnel` process per node that is
//! fed from a state file, with this process in the agent's place. [`eventually`] waits for conditions.

mod mesh;
mod need;
mod pod;
mod wait;

pub use mesh::{Mesh, MeshBuilder};
pub use need::{binary, missing};
pub use pod::{Finished, Running};
pub use wait::{DEADLINE, eventually, soon};
