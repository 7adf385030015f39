//! Every reader of hostile bytes, as a function that panics where a promise is broken.
//!
//! The tests replay what is kept in `fuzz/corpus` and what [`Inputs`] makes of it; `cargo fuzz` calls the same functions
//! (`make fuzz`).

mod inputs;
mod paths;
mod tunnel;
mod xds;

pub use inputs::{Inputs, corpus};

/// A function to call with any bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Also that of its corpus.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub run: fn(&[u8]),
}

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    target("authorization", xds::authorization),
    target("baggage", tunnel::baggage),
    target("certificate", tunnel::certificate),
    target("client_hello", ambit_waypoint::fuzzing::client_hello),
    target("connect_authority", tunnel::connect_authority),
    target("controller_yaml", ambit_controller::fuzzing::controller_yaml),
    target("detection", ambit_waypoint::fuzzing::detection),
    target("dns_message", ambit_ztunnel::fuzzing::dns_message),
    target("forwarded", tunnel::forwarded),
    target("grpc_messages", ambit_waypoint::fuzzing::grpc_messages),
    target("header_edit", ambit_waypoint::fuzzing::header_edit),
    target("http1_request", ambit_waypoint::fuzzing::http1_request),
    target("listener", ambit_waypoint::fuzzing::listener),
    target("names", tunnel::names),
    target("path_edit", ambit_waypoint::fuzzing::path_edit),
    target("proxy_protocol", ambit_ztunnel::fuzzing::proxy_protocol),
    target("request_head", ambit_waypoint::fuzzing::request_head),
    target("request_path", paths::request_path),
    target("request_policy", ambit_waypoint::fuzzing::request_policy),
    target("resolv_conf", ambit_ztunnel::fuzzing::resolv_conf),
    target("route", ambit_waypoint::fuzzing::route),
    target("sandbox_yaml", ambit_sandbox::fuzzing::sandbox_yaml),
    target("sticky_cookie", ambit_waypoint::fuzzing::sticky_cookie),
    target("trace_context", ambit_waypoint::fuzzing::trace_context),
    target("traffic_policy", ambit_waypoint::fuzzing::traffic_policy),
    target("workload", xds::workload),
    target("zds_packet", ambit_zds::fuzzing::zds_packet),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// Calls the target of that name.
///
/// # Panics
/// There is none, or it complains.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("the target exists").run)(data);
}
