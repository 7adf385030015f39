//! Arbitrary model values that the wire can express.

use std::net::IpAddr;

use ambit_model::{
    Action, ApplicationTunnel, ApplicationTunnelProtocol, Authorization, GatewayAddress,
    GatewayDestination, HealthPolicy, HealthStatus, IpFamilies, LoadBalancer, LoadBalancerMode,
    LoadBalancerScope, Locality, Match, NamespacedHostname, NetworkAddress, NetworkCidr,
    NetworkMode, PathMatch, PolicyTarget, PortMap, RequestAction, RequestCondition,
    RequestOperation, RequestPolicy, RequestRule, RequestSource, Scope, Service,
    ServiceAccountMatch, Str, StringMatch, Terms, TunnelProtocol, Visibility, WeightedWaypoint,
    Workload, WorkloadType,
};
use ipnet::IpNet;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// A name that is never empty.
fn name() -> impl Strategy<Value = Str> {
    "[a-z][a-z0-9.-]{0,12}".prop_map(Into::into)
}

fn text() -> impl Strategy<Value = Str> {
    "[a-z0-9 *ü.-]{0,12}".prop_map(Into::into)
}

fn ip() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>().prop_map(|ip| ip.to_canonical())
}

fn net() -> impl Strategy<Value = IpNet> {
    (ip(), any::<u8>()).prop_map(|(ip, length)| {
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let net = IpNet::new(ip, length % (longest + 1)).expect("a valid length").trunc();
        // Truncation can make an IPv4-mapped address of another one only where the prefix covers it.
        if net.addr().to_canonical() == net.addr() { net } else { IpNet::from(ip) }
    })
}

fn hostname() -> impl Strategy<Value = NamespacedHostname> {
    (name(), name()).prop_map(|(namespace, host)| NamespacedHostname::new(namespace, host))
}

fn address() -> impl Strategy<Value = NetworkAddress> {
    (text(), ip()).prop_map(|(network, ip)| NetworkAddress::new(network, ip))
}

fn gateway() -> impl Strategy<Value = GatewayAddress> {
    let destination = prop_oneof![
        address().prop_map(GatewayDestination::Address),
        hostname().prop_map(GatewayDestination::Hostname),
    ];
    (destination, 1_u16..)
        .prop_map(|(destination, hbone_mtls_port)| GatewayAddress { destination, hbone_mtls_port })
}

fn ports() -> impl Strategy<Value = PortMap> {
    btree_map(1_u16.., any::<u16>(), 0..4)
}

fn tunnel() -> impl Strategy<Value = ApplicationTunnel> {
    let protocol =
        prop_oneof![Just(ApplicationTunnelProtocol::None), Just(ApplicationTunnelProtocol::Proxy)];
    (protocol, option::of(1_u16..))
        .prop_map(|(protocol, port)| ApplicationTunnel { protocol, port })
}

prop_compose! {
    fn placement()(
        trust_domain in name(), service_account in name(), cluster_id in name(), network in text(),
        node in text(), region in text(), zone in text(), subzone in text(), capacity in any::<u32>(),
        hostname in text(),
    ) -> Workload {
        Workload {
            trust_domain, service_account, cluster_id, network, node, capacity, hostname,
            locality: Locality { region, zone, subzone },
            ..Workload::default()
        }
    }
}

prop_compose! {
    fn transport()(
        base in placement(),
        workload_ips in vec(ip(), 0..3),
        waypoint in option::of(gateway()), network_gateway in option::of(gateway()),
        hbone in any::<bool>(), host in any::<bool>(), unhealthy in any::<bool>(),
        native_tunnel in any::<bool>(), application_tunnel in option::of(tunnel()),
    ) -> Workload {
        Workload {
            workload_ips, waypoint, network_gateway, native_tunnel, application_tunnel,
            protocol: if hbone { TunnelProtocol::Hbone } else { TunnelProtocol::Tcp },
            network_mode: if host { NetworkMode::HostNetwork } else { NetworkMode::Standard },
            status: if unhealthy { HealthStatus::Unhealthy } else { HealthStatus::Healthy },
            ..base
        }
    }
}

prop_compose! {
    pub(crate) fn workload()(
        base in transport(),
        uid in name(), name in text(), namespace in name(), workload_name in text(),
        canonical_name in text(), canonical_revision in text(),
        workload_type in prop_oneof![
            Just(WorkloadType::Deployment), Just(WorkloadType::CronJob),
            Just(WorkloadType::Pod), Just(WorkloadType::Job),
        ],
        authorization_policies in vec(name(), 0..3),
        services in btree_map(hostname(), ports(), 0..5),
    ) -> Workload {
        Workload {
            uid, name, namespace, workload_name, canonical_name, canonical_revision, workload_type,
            authorization_policies, services,
            ..base
        }
    }
}

fn scope() -> impl Strategy<Value = LoadBalancerScope> {
    prop_oneof![
        Just(LoadBalancerScope::Region),
        Just(LoadBalancerScope::Zone),
        Just(LoadBalancerScope::Subzone),
        Just(LoadBalancerScope::Node),
        Just(LoadBalancerScope::Cluster),
        Just(LoadBalancerScope::Network),
    ]
}

fn load_balancer() -> impl Strategy<Value = LoadBalancer> {
    let mode = prop_oneof![
        Just(LoadBalancerMode::Standard),
        Just(LoadBalancerMode::Strict),
        Just(LoadBalancerMode::Failover),
        Just(LoadBalancerMode::Passthrough),
    ];
    let health = prop_oneof![Just(HealthPolicy::OnlyHealthy), Just(HealthPolicy::AllowAll)];
    (vec(scope(), 0..6), mode, health).prop_map(|(routing_preferences, mode, health_policy)| {
        LoadBalancer { routing_preferences, mode, health_policy }
    })
}

prop_compose! {
    pub(crate) fn service()(
        name in text(), key in hostname(), vips in vec(address(), 0..3),
        cidr_vips in vec((text(), net()).prop_map(|(n, c)| NetworkCidr::new(n, c)), 0..3),
        ports in ports(), subject_alt_names in vec(text(), 0..3),
        waypoint in option::of(gateway()),
        weighted in vec((gateway(), any::<u32>()), 0..3),
        load_balancer in option::of(load_balancer()),
        families in option::of(prop_oneof![Just(IpFamilies::V4), Just(IpFamilies::V6), Just(IpFamilies::Dual)]),
        canonical in any::<bool>(), private in any::<bool>(),
    ) -> Service {
        Service {
            name, vips, cidr_vips, ports, subject_alt_names, waypoint, load_balancer, canonical,
            namespace: key.namespace, hostname: key.hostname, ip_families: families,
            weighted_waypoints: weighted.into_iter()
                .map(|(destination, weight)| WeightedWaypoint { destination, weight }).collect(),
            visibility: if private { Visibility::Namespace } else { Visibility::Public },
        }
    }
}

fn string_match() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        text().prop_map(StringMatch::Exact),
        text().prop_map(StringMatch::Prefix),
        text().prop_map(StringMatch::Suffix),
        Just(StringMatch::Presence()),
    ]
}

fn account() -> impl Strategy<Value = ServiceAccountMatch> {
    (name(), name())
        .prop_map(|(namespace, service_account)| ServiceAccountMatch { namespace, service_account })
}

prop_compose! {
    fn conditions()(
        namespaces in vec(string_match(), 0..3), not_namespaces in vec(string_match(), 0..3),
        principals in vec(string_match(), 0..3), not_principals in vec(string_match(), 0..3),
        service_accounts in vec(account(), 0..3), not_service_accounts in vec(account(), 0..3),
        source_ips in vec(net(), 0..3), not_source_ips in vec(net(), 0..3),
        destination_ips in vec(net(), 0..3), not_destination_ips in vec(net(), 0..3),
        destination_ports in vec(any::<u16>(), 0..3), not_destination_ports in vec(any::<u16>(), 0..3),
    ) -> Match {
        Match {
            namespaces, not_namespaces, service_accounts, not_service_accounts, principals,
            not_principals, source_ips, not_source_ips, destination_ips, not_destination_ips,
            destination_ports, not_destination_ports,
        }
    }
}

prop_compose! {
    pub(crate) fn authorization()(
        name in name(), namespace in name(),
        scope in prop_oneof![Just(Scope::Global), Just(Scope::Namespace), Just(Scope::WorkloadSelector)],
        deny in any::<bool>(), dry_run in any::<bool>(),
        rules in vec(vec(vec(conditions(), 0..3), 0..3), 0..3),
    ) -> Authorization {
        let action = if deny { Action::Deny } else { Action::Allow };
        Authorization { name, namespace, scope, action, rules, dry_run }
    }
}

// === policies of requests ===

fn terms<T: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + Clone + 'static,
) -> BoxedStrategy<Terms<T>> {
    (vec(value.clone(), 0..2), vec(value, 0..2))
        .prop_map(|(values, not_values)| Terms { values, not_values })
        .boxed()
}

fn said<T: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + Clone + 'static,
) -> BoxedStrategy<Terms<T>> {
    terms(value).prop_filter("says nothing", |terms| !terms.is_empty()).boxed()
}

fn path_match() -> impl Strategy<Value = PathMatch> + Clone {
    let template = select(vec!["/{*}", "/a/{**}/b", "/a/{*}/{**}"]);
    prop_oneof![
        string_match().prop_map(PathMatch::Text),
        template.prop_map(|text| PathMatch::Template(text.parse().expect("a template"))),
    ]
    .boxed()
}

prop_compose! {
    fn request_source()(
        principals in said(string_match().boxed()), request_principals in terms(string_match().boxed()),
        namespaces in terms(string_match().boxed()), service_accounts in terms(account().boxed()),
        ip_blocks in terms(net().boxed()), remote_ip_blocks in terms(net().boxed()),
    ) -> RequestSource {
        RequestSource {
            principals, request_principals, namespaces, service_accounts, ip_blocks, remote_ip_blocks,
        }
    }
}

prop_compose! {
    fn request_operation()(
        hosts in terms(string_match().boxed()), ports in said((1_u16..).boxed()),
        methods in terms(string_match().boxed()), paths in terms(path_match()),
    ) -> RequestOperation {
        RequestOperation { hosts, ports, methods, paths }
    }
}

fn request_condition() -> impl Strategy<Value = RequestCondition> {
    use RequestCondition as Is;
    let text = || said(string_match().boxed());
    let nets = || said(net().boxed());
    prop_oneof![
        (name(), text()).prop_map(|(name, terms)| Is::Header { name, terms }),
        (vec(name(), 1..3), text()).prop_map(|(claim, terms)| Is::AuthClaim { claim, terms }),
        nets().prop_map(Is::SourceIp),
        nets().prop_map(Is::RemoteIp),
        text().prop_map(Is::SourceNamespace),
        text().prop_map(Is::SourcePrincipal),
        said(account().boxed()).prop_map(Is::SourceServiceAccount),
        text().prop_map(Is::AuthPrincipal),
        nets().prop_map(Is::DestinationIp),
        said((1_u16..).boxed()).prop_map(Is::DestinationPort),
        text().prop_map(Is::Sni),
    ]
}

prop_compose! {
    fn request_rule()(
        from in vec(request_source(), 0..3), to in vec(request_operation(), 0..3),
        when in vec(request_condition(), 0..3),
    ) -> RequestRule {
        RequestRule { from, to, when }
    }
}

prop_compose! {
    pub(crate) fn request_policy()(
        name in name(), namespace in name(), dry_run in any::<bool>(),
        action in prop_oneof![
            Just(RequestAction::Allow), Just(RequestAction::Deny), Just(RequestAction::Audit),
            self::name().prop_map(RequestAction::Custom),
        ],
        targets in vec(
            prop_oneof![Just(PolicyTarget::Gateway), hostname().prop_map(PolicyTarget::Service)], 1..3),
        rules in vec(request_rule(), 0..3),
    ) -> RequestPolicy {
        RequestPolicy { name, namespace, action, dry_run, targets, rules }
    }
}
