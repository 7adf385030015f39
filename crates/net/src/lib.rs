//! Sockets, network namespaces, splice: every syscall of the data path.
//!
//! - [`NetNs`]: a network namespace held open, and work done inside it.
//! - [`listen`], [`bind_udp`]: sockets for captured pods, marked and transparent.
//! - [`connect`]: dials out of a namespace, from a chosen source address, and says what a failure means.
//! - [`original_dst`], [`canonical`]: where a redirected connection was going.
//! - [`relay`]: TCP to TCP through the kernel, for two pods of one node.
//! - [`read_chunk`], [`write_all_bytes`], [`write_bytes`]: TCP to and from `Bytes`, for the tunnel.
//! - [`PacketSocket`]: packets with descriptors, from process to process.
//! - [`release_thread_memory`]: gives back what an idle thread keeps.
//!
//! Nothing here knows of identities, policies or protocols.

mod address;
mod chunk;
mod connect;
mod limits;
mod listen;
mod memory;
mod netns;
mod packet;
mod relay;
mod tcp;
#[cfg(test)]
mod testing;

pub use address::{canonical, canonical_ip, original_dst};
pub use chunk::{read_chunk, write_all_bytes, write_bytes};
pub use connect::{ConnectError, ConnectOptions, connect};
pub use limits::raise_descriptor_limit;
pub use listen::{ListenOptions, Listener, Transparent, bind_udp, listen};
pub use memory::release_thread_memory;
pub use netns::{NetNs, NetNsId};
pub use packet::{PacketSocket, ReceivedPacket};
pub use relay::{Counters, Outcome, Side, relay};
pub use tcp::{Keepalive, ResetOnDrop, TcpOptions, is_reset, reset, tune};
