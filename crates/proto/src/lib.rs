//! Protobuf messages and gRPC stubs, generated at build time from the definitions in `proto/`; nothing is written by hand.

#![allow(missing_docs, unreachable_pub, rustdoc::all, clippy::all)]

/// Workloads and services (`istio.workload`).
pub mod workload {
    tonic::include_proto!("istio.workload");

    /// The agent–ztunnel protocol (`istio.workload.zds`).
    pub mod zds {
        tonic::include_proto!("istio.workload.zds");
    }
}

/// Authorization policies (`istio.security`).
pub mod security {
    tonic::include_proto!("istio.security");
}

/// What waypoints and gateways are told (`ambit.v1`), by Ambit's controller alone.
pub mod ambit {
    tonic::include_proto!("ambit.v1");
}

/// Certificate signing (`istio.v1.auth`).
pub mod certificate {
    tonic::include_proto!("istio.v1.auth");
}

/// Delta xDS (`envoy.service.discovery.v3`).
pub mod discovery {
    tonic::include_proto!("envoy.service.discovery.v3");
}

/// The name of an extension of a workload, without configuration: its traffic with pods of its own node is encrypted as
/// well. Ambit only; other proxies ignore it.
pub const ENCRYPT_LOCAL: &str = "ambit.dev/encrypt-local";
/// The type URL of [`workload::Address`].
pub const ADDRESS_TYPE: &str = "type.googleapis.com/istio.workload.Address";
/// The type URL of [`ambit::Route`].
pub const ROUTE_TYPE: &str = "type.googleapis.com/ambit.v1.Route";
/// The type URL of [`ambit::Listener`].
pub const LISTENER_TYPE: &str = "type.googleapis.com/ambit.v1.Listener";
/// The type URL of [`ambit::TrafficPolicy`].
pub const TRAFFIC_POLICY_TYPE: &str = "type.googleapis.com/ambit.v1.TrafficPolicy";
/// The type URL of [`ambit::RequestPolicy`].
pub const REQUEST_POLICY_TYPE: &str = "type.googleapis.com/ambit.v1.RequestPolicy";
/// The type URL of [`ambit::WorkloadLabels`].
pub const WORKLOAD_LABELS_TYPE: &str = "type.googleapis.com/ambit.v1.WorkloadLabels";
/// The type URL of [`security::Authorization`].
pub const AUTHORIZATION_TYPE: &str = "type.googleapis.com/istio.security.Authorization";
