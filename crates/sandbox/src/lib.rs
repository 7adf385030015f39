//! Nodes, pods and services in network namespaces on one machine, for `ambit up`, tests and benchmarks.
//!
//! - [`Sandbox`]: what Kubernetes YAML says, running: pods as processes of this machine in namespaces of their own,
//!   services with virtual addresses and names, and the mesh's real programs among them. Edits take effect at once.
//! - [`Topology`]: namespaces for a fabric, nodes and pods, with addresses, and processes started in them. No YAML.
//!
//! ```no_run
//! # async fn demo() -> Result<(), ambit_sandbox::Error> {
//! use std::time::Duration;
//! use ambit_sandbox::{Binaries, Options, Sandbox, Source};
//!
//! let binaries = Binaries::beside_this().expect("this program has a path");
//! let options = Options::new(Source::Directory("examples/hello".into())).with_mesh(binaries);
//! let sandbox = Sandbox::start(options).await?;
//! sandbox.ready(Duration::from_secs(30)).await?;
//! let output = sandbox.exec("client", &["curl", "-s", "http://server.hello/"]).await?;
//! assert_eq!(output.code, 0);
//! sandbox.stop(Duration::from_secs(2)).await
//! # }
//! ```

mod cluster;
mod dns;
mod error;
mod event;
#[doc(hidden)]
pub mod fuzzing;
mod gateways;
mod http;
mod instance;
mod keeper;
mod log;
mod manifest;
mod mesh;
mod pod;
mod process;
mod publish;
mod room;
mod sandbox;
mod services;
mod source;
mod topology;

pub use cluster::PodKey;
pub use error::Error;
pub use event::Event;
pub use instance::{Instance, RUN_ROOT};
pub use keeper::PodHandle;
pub use manifest::{Invalid, ObjectRef};
pub use mesh::{Binaries, Component, Settings};
pub use pod::launch::Images;
pub use pod::process::Output;
pub use room::Room;
pub use sandbox::{Options, Sandbox, Source};
pub use topology::{
    FABRIC_V4, FABRIC_V6, MAX_NODES, MAX_PODS, NodeNet, PodNet, Topology, TopologyOptions,
    supported,
};
