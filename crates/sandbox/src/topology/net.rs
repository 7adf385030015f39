//! Nodes and pods as namespaces with addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use crate::room::Room;

/// A node: a namespace on the fabric that routes for its pods.
#[derive(Debug)]
pub struct NodeNet {
    pub(super) name: String,
    pub(super) index: u8,
    pub(super) ips: Vec<IpAddr>,
    pub(super) gateways: Vec<IpAddr>,
    pub(super) room: Room,
}

/// A pod's namespace.
#[derive(Debug)]
pub struct PodNet {
    pub(super) name: String,
    pub(super) node: String,
    pub(super) host: u8,
    pub(super) ips: Vec<IpAddr>,
    pub(super) room: Room,
}

// === impl NodeNet ===

impl NodeNet {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its addresses on the fabric, IPv4 first.
    pub fn ips(&self) -> &[IpAddr] {
        &self.ips
    }

    /// Its addresses among its pods', IPv4 first.
    pub fn gateways(&self) -> &[IpAddr] {
        &self.gateways
    }

    /// Its IPv4 address on the fabric.
    pub fn ip(&self) -> IpAddr {
        self.ips.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED.into())
    }

    /// Its namespace, with a thread inside.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Its number, 1 and up: the third part of its pods' IPv4 addresses.
    pub fn index(&self) -> u8 {
        self.index
    }
}

// === impl PodNet ===

impl PodNet {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Its addresses, IPv4 first.
    pub fn ips(&self) -> &[IpAddr] {
        &self.ips
    }

    /// Its IPv4 address.
    pub fn ip(&self) -> IpAddr {
        self.ips.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED.into())
    }

    /// Its namespace, with a thread inside.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// A command to start with `pod.room().spawn(…)`; see [`Room::command`].
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.room.command(program)
    }
}
