//! Pods at run time: their view of the machine, their containers, their probes.

mod container;
mod furnish;
pub(crate) mod launch;
mod probe;
pub(crate) mod process;
pub(crate) mod runner;
pub(crate) mod status;
pub(crate) mod volumes;

use k8s_openapi::api::core::v1::{Container, ContainerPort};

pub(crate) use container::{State, Stop};

/// A container's ports by name.
pub(crate) fn named_ports(container: &Container) -> Vec<(String, u16)> {
    let named =
        |port: &ContainerPort| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?));
    container.ports.iter().flatten().filter_map(named).collect()
}
