//! Encoding and decoding are each other's inverse, and hostile bytes are errors.

use std::collections::HashMap;

use ambit_proto::security as pol;
use ambit_proto::workload as wl;
use ambit_xds::encode::Encoded;
use ambit_xds::{Interner, decode, encode};
use proptest::prelude::*;
use prost::Message as _;

use crate::generate;

proptest! {
    #[test]
    fn workloads_come_back(workload in generate::workload()) {
        let encoded = Encoded::workload(&workload);
        let decoded = decode::address(&encoded.body, &mut Interner::default());
        prop_assert_eq!(decoded, Ok(decode::Address::Workload(workload.clone())));
        prop_assert_eq!(&encoded.name, &workload.uid);
        // The marshalled form and the generated message say the same.
        let message = wl::Address { r#type: Some(wl::address::Type::Workload(encode::workload(&workload))) };
        prop_assert_eq!(wl::Address::decode(encoded.body.clone()), Ok(message));
        prop_assert_eq!(Encoded::workload(&workload), encoded);
    }

    #[test]
    fn services_come_back(service in generate::service()) {
        let encoded = Encoded::from(&service);
        let decoded = decode::address(&encoded.body, &mut Interner::default());
        prop_assert_eq!(decoded, Ok(decode::Address::Service(service.clone())));
        prop_assert_eq!(&*encoded.name, service.key().to_string());
    }

    #[test]
    fn policies_come_back(policy in generate::authorization()) {
        let encoded = Encoded::authorization(&policy);
        let decoded = decode::policy(&encoded.body, &mut Interner::default());
        prop_assert_eq!(decoded.policy, Ok(policy.clone()));
        prop_assert_eq!(&*encoded.name, &*policy.key().0);
    }

    #[test]
    fn any_bytes_are_either_a_resource_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut interner = Interner::default();
        if let Ok(decode::Address::Workload(workload)) = decode::address(&bytes, &mut interner) {
            prop_assert!(!workload.uid.is_empty());
        }
        let _ = decode::policy(&bytes, &mut interner);
    }

    #[test]
    fn a_flipped_byte_never_panics(workload in generate::workload(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = Encoded::workload(&workload).body.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = decode::address(&bytes, &mut Interner::default());
    }
}

fn workload_error(change: impl FnOnce(&mut wl::Workload)) -> String {
    let mut message = wl::Workload { uid: "u".into(), ..wl::Workload::default() };
    change(&mut message);
    decode::workload(message, &mut Interner::default()).expect_err("malformed").to_string()
}

#[test]
fn every_malformed_workload_is_refused() {
    let gateway =
        |destination, port| Some(wl::GatewayAddress { destination, hbone_mtls_port: port });
    let hostname = |ns: &str, host: &str| {
        Some(wl::gateway_address::Destination::Hostname(wl::NamespacedHostname {
            namespace: ns.into(),
            hostname: host.into(),
        }))
    };
    let table: Vec<(String, &str)> = vec![
        (workload_error(|w| w.uid.clear()), "uid is missing"),
        (
            workload_error(|w| w.addresses = vec![vec![10, 0, 0]]),
            "addresses: an IP address of 3 bytes; it has to be 4 or 16",
        ),
        (workload_error(|w| w.tunnel_protocol = 2), "tunnel protocol 2 is not supported"),
        (workload_error(|w| w.tunnel_protocol = 9), "tunnel protocol 9 is not supported"),
        (workload_error(|w| w.network_mode = 7), "network mode 7 is unknown"),
        (workload_error(|w| w.status = -1), "status -1 is unknown"),
        (
            workload_error(|w| {
                w.services = HashMap::from([("web".into(), wl::PortList::default())])
            }),
            "services: \"web\" is not of the form namespace/hostname",
        ),
        (
            workload_error(|w| {
                let port = wl::Port { service_port: 70_000, ..wl::Port::default() };
                w.services = HashMap::from([("a/b".into(), wl::PortList { ports: vec![port] })]);
            }),
            "services: 70000 is no port",
        ),
        (
            workload_error(|w| w.waypoint = gateway(None, 15008)),
            "waypoint: the gateway has neither hostname nor address",
        ),
        (
            workload_error(|w| w.waypoint = gateway(hostname("a", ""), 15008)),
            "waypoint: the gateway's service \"a/\" is not of the form namespace/hostname",
        ),
        (
            workload_error(|w| w.network_gateway = gateway(hostname("a", "b"), 65_536)),
            "network_gateway: 65536 is no port",
        ),
        (
            workload_error(|w| {
                w.application_tunnel = Some(wl::ApplicationTunnel { protocol: 5, port: 0 })
            }),
            "application tunnel protocol 5 is unknown",
        ),
        (
            workload_error(|w| {
                w.application_tunnel = Some(wl::ApplicationTunnel { protocol: 1, port: 99_999 })
            }),
            "application_tunnel: 99999 is no port",
        ),
        (
            workload_error(|w| w.namespace = "a/sa/b".into()),
            "namespace \"a/sa/b\" has a slash in it",
        ),
        (
            workload_error(|w| w.service_account = "a/b".into()),
            "service_account \"a/b\" has a slash in it",
        ),
        (
            workload_error(|w| w.trust_domain = "td/ns/x".into()),
            "trust_domain \"td/ns/x\" has a slash in it",
        ),
    ];
    for (error, expected) in table {
        assert_eq!(error, expected);
    }
}

#[test]
fn defaults_of_the_protocol_are_filled_in() {
    let message = wl::Workload { uid: "u".into(), workload_type: 77, ..wl::Workload::default() };
    let workload = decode::workload(message, &mut Interner::default()).expect("valid");
    assert_eq!(workload.identity().to_string(), "spiffe://cluster.local/ns//sa/default");
    assert_eq!(&*workload.cluster_id, "Kubernetes");
    assert_eq!(workload.capacity, 1);
    assert_eq!(
        workload.workload_type,
        ambit_model::WorkloadType::Pod,
        "an unknown type is no error"
    );
    let waypoint = wl::GatewayAddress {
        destination: Some(wl::gateway_address::Destination::Hostname(wl::NamespacedHostname {
            namespace: "a".into(),
            hostname: "b".into(),
        })),
        hbone_mtls_port: 0,
    };
    let message =
        wl::Workload { uid: "u".into(), waypoint: Some(waypoint), ..wl::Workload::default() };
    let workload = decode::workload(message, &mut Interner::default()).expect("valid");
    assert_eq!(workload.waypoint.expect("a waypoint").hbone_mtls_port, 15008);
}

fn service_error(change: impl FnOnce(&mut wl::Service)) -> String {
    let mut message =
        wl::Service { namespace: "ns".into(), hostname: "h".into(), ..wl::Service::default() };
    change(&mut message);
    decode::service(message, &mut Interner::default()).expect_err("malformed").to_string()
}

#[test]
fn every_malformed_service_is_refused() {
    let address = |bytes: &[u8], length| wl::NetworkAddress {
        network: String::new(),
        address: bytes.to_vec(),
        length,
    };
    let lb = |routing_preference, mode, health_policy| {
        Some(wl::LoadBalancing { routing_preference, mode, health_policy })
    };
    let port = |service_port, target_port| wl::Port { service_port, target_port, app_protocol: 0 };
    let table: Vec<(String, &str)> = vec![
        (service_error(|s| s.namespace.clear()), "namespace is missing"),
        (service_error(|s| s.hostname.clear()), "hostname is missing"),
        (service_error(|s| s.hostname = "a/b".into()), "hostname \"a/b\" has a slash in it"),
        (
            service_error(|s| s.addresses = vec![address(&[1], None)]),
            "addresses: an IP address of 1 bytes; it has to be 4 or 16",
        ),
        (
            service_error(|s| s.addresses = vec![address(&[10, 0, 0, 0], Some(33))]),
            "addresses: prefix length 33 is too long for 10.0.0.0",
        ),
        (service_error(|s| s.ports = vec![port(0, 80)]), "ports: 0 is no port"),
        (service_error(|s| s.ports = vec![port(80, 65_536)]), "ports: 65536 is no port"),
        (
            service_error(|s| s.waypoint = Some(wl::GatewayAddress::default())),
            "waypoint: the gateway has neither hostname nor address",
        ),
        (
            service_error(|s| s.weighted_waypoints = vec![wl::WeightedWaypoint::default()]),
            "weighted_waypoints: a destination is missing",
        ),
        (
            service_error(|s| s.load_balancing = lb(vec![], 8, 0)),
            "load_balancing: mode 8 is unknown",
        ),
        (
            service_error(|s| s.load_balancing = lb(vec![1, 77], 2, 0)),
            "load_balancing: routing_preference 77 is unknown",
        ),
        (
            service_error(|s| s.load_balancing = lb(vec![], 0, 3)),
            "load_balancing: health_policy 3 is unknown",
        ),
    ];
    for (error, expected) in table {
        assert_eq!(error, expected);
    }
}

fn policy_error(change: impl FnOnce(&mut pol::Match, &mut pol::Authorization)) -> String {
    let mut policy = pol::Authorization {
        name: "p".into(),
        namespace: "ns".into(),
        ..pol::Authorization::default()
    };
    let mut matches = pol::Match { destination_ports: vec![80], ..pol::Match::default() };
    change(&mut matches, &mut policy);
    policy.rules = vec![pol::Rule { clauses: vec![pol::Clause { matches: vec![matches] }] }];
    decode::authorization(policy, &mut Interner::default()).expect_err("malformed").to_string()
}

#[test]
fn a_policy_with_one_malformed_condition_is_refused_as_a_whole() {
    let address = |bytes: &[u8], length| pol::Address { address: bytes.to_vec(), length };
    let account = |namespace: &str, name: &str| pol::ServiceAccountMatch {
        namespace: namespace.into(),
        service_account: name.into(),
    };
    let unset = || vec![pol::StringMatch { match_type: None }];
    let table: Vec<(String, &str)> = vec![
        (policy_error(|_, p| p.name.clear()), "name is missing"),
        (policy_error(|_, p| p.namespace.clear()), "namespace is missing"),
        (policy_error(|_, p| p.scope = 3), "scope 3 is unknown"),
        (policy_error(|_, p| p.action = 2), "action 2 is unknown"),
        (policy_error(|m, _| m.principals = unset()), "principals: a string match is empty"),
        (
            policy_error(|m, _| m.not_principals = unset()),
            "not_principals: a string match is empty",
        ),
        (policy_error(|m, _| m.namespaces = unset()), "namespaces: a string match is empty"),
        (
            policy_error(|m, _| m.not_namespaces = unset()),
            "not_namespaces: a string match is empty",
        ),
        (
            policy_error(|m, _| m.source_ips = vec![address(&[], 0)]),
            "source_ips: an IP address of 0 bytes; it has to be 4 or 16",
        ),
        (
            policy_error(|m, _| m.not_source_ips = vec![address(&[10, 0, 0, 0], 40)]),
            "not_source_ips: prefix length 40 is too long for 10.0.0.0",
        ),
        (
            policy_error(|m, _| m.destination_ips = vec![address(&[0; 16], 129)]),
            "destination_ips: prefix length 129 is too long for ::",
        ),
        (
            policy_error(|m, _| m.not_destination_ips = vec![address(&[0; 5], 1)]),
            "not_destination_ips: an IP address of 5 bytes; it has to be 4 or 16",
        ),
        (
            policy_error(|m, _| m.destination_ports = vec![65_536 + 80]),
            "destination_ports: 65616 is no port",
        ),
        (
            policy_error(|m, _| m.not_destination_ports = vec![u32::MAX]),
            "not_destination_ports: 4294967295 is no port",
        ),
        (
            policy_error(|m, _| m.service_accounts = vec![account("", "x")]),
            "service_accounts: a service account lacks its name or its namespace",
        ),
        (
            policy_error(|m, _| m.not_service_accounts = vec![account("x", "")]),
            "not_service_accounts: a service account lacks its name or its namespace",
        ),
    ];
    for (error, expected) in table {
        assert_eq!(error, expected);
    }
}
