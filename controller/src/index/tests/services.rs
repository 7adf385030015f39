//! Services of Kubernetes and of ServiceEntries.

use std::net::IpAddr;

use ambit_model::{
    HealthPolicy, IpFamilies, LoadBalancer, LoadBalancerMode, LoadBalancerScope, NetworkAddress,
    Visibility,
};
use ambit_proto::workload::AppProtocol;

use super::*;

use LoadBalancerScope::{Network, Node, Region, Subzone, Zone};

fn vips(service: &Service) -> Vec<String> {
    service.vips.iter().map(ToString::to_string).collect()
}

fn entry(metadata: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{namespace: shop, {metadata}}}\nspec: {{{spec}}}\n"
    )
}

#[test]
fn a_service_of_kubernetes() {
    let yaml =
        service("web", "10.1.0.1", "clusterIPs: [10.1.0.1, 'fd00::1'], ipFamilies: [IPv4, IPv6]");
    let web = Mesh::new(&yaml).svc("web");
    assert_eq!((&*web.name, &*web.namespace), ("web", "shop"));
    assert_eq!(vips(&web), ["/10.1.0.1", "/fd00::1"]);
    assert_eq!(
        (web.ip_families, web.canonical, web.load_balancer),
        (Some(IpFamilies::Dual), true, None)
    );
}

#[test]
fn addresses_of_every_kind() {
    for (spec, expected) in [
        ("clusterIP: None", vec![]),
        ("clusterIP: 10.1.0.1", vec!["/10.1.0.1"]),
        ("clusterIPs: ['fd00::1']", vec!["/fd00::1"]),
    ] {
        let yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s, namespace: shop}}\nspec: {{{spec}}}"
        );
        assert_eq!(vips(&Mesh::new(&yaml).svc("s")), expected, "{spec}");
    }
    let ingress = "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop}\nspec: {clusterIP: 10.1.0.1}\nstatus: {loadBalancer: {ingress: [{ip: 1.2.3.4}, {hostname: lb.example}]}}";
    assert_eq!(vips(&Mesh::new(ingress).svc("s")), ["/10.1.0.1", "/1.2.3.4"]);
}

#[test]
fn another_name_for_a_host_outside_is_no_service() {
    let mesh = Mesh::new(
        "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop}\nspec: {type: ExternalName, externalName: example.com}",
    );
    assert_eq!(mesh.names(ResourceType::Address), [""; 0]);
}

#[test]
fn only_tcp_ports_count() {
    let yaml = "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop}\nspec: {ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, targetPort: 1053}, {name: grpc-api, port: 90}, {name: x, port: 91, appProtocol: http}]}";
    let mesh = Mesh::new(yaml);
    assert_eq!(
        mesh.svc("s").ports.into_iter().collect::<Vec<_>>(),
        [(53, 1053), (90, 90), (91, 91)]
    );
    let body = mesh.body(ResourceType::Address, "shop/s.shop.svc.cluster.local").unwrap();
    let address = ambit_proto::workload::Address::decode(&body[..]).unwrap();
    let Some(ambit_proto::workload::address::Type::Service(message)) = address.r#type else {
        panic!()
    };
    let protocols: Vec<AppProtocol> = message.ports.iter().map(|p| p.app_protocol()).collect();
    assert_eq!(protocols, [AppProtocol::Unknown, AppProtocol::Grpc, AppProtocol::Http11]);
}

#[test]
fn balancing() {
    let failover = |scopes: &[LoadBalancerScope], health| LoadBalancer {
        routing_preferences: scopes.to_vec(),
        mode: LoadBalancerMode::Failover,
        health_policy: health,
    };
    use HealthPolicy::{AllowAll, OnlyHealthy};
    let near = [Network, Region, Zone];
    let table = [
        ("", "", None),
        (
            "",
            "internalTrafficPolicy: Local",
            Some(LoadBalancer {
                routing_preferences: vec![Node],
                mode: LoadBalancerMode::Strict,
                health_policy: OnlyHealthy,
            }),
        ),
        (
            "",
            "publishNotReadyAddresses: true",
            Some(LoadBalancer {
                routing_preferences: vec![],
                mode: LoadBalancerMode::Standard,
                health_policy: AllowAll,
            }),
        ),
        ("", "trafficDistribution: PreferClose", Some(failover(&near, OnlyHealthy))),
        (
            "",
            "trafficDistribution: PreferSameZone, publishNotReadyAddresses: true",
            Some(failover(&near, AllowAll)),
        ),
        (
            "",
            "trafficDistribution: PreferSameNode",
            Some(failover(&[Network, Region, Zone, Subzone, Node], OnlyHealthy)),
        ),
        (
            "networking.istio.io/traffic-distribution: preferclose",
            "",
            Some(failover(&near, OnlyHealthy)),
        ),
        (
            "networking.istio.io/traffic-distribution: PreferClose",
            "trafficDistribution: PreferSameNode",
            Some(failover(&[Network, Region, Zone, Subzone, Node], OnlyHealthy)),
        ),
    ];
    for (annotations, spec, expected) in table {
        let mesh = Mesh::new(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s, namespace: shop, annotations: {{{annotations}}}}}\nspec: {{{spec}}}"
        ));
        assert_eq!(mesh.svc("s").load_balancer, expected, "{annotations} {spec}");
    }
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: {networking.istio.io/traffic-distribution: PreferClose}}\n";
    let mesh = Mesh::new(&[service("web", "10.1.0.1", "").as_str(), namespace].concat());
    assert_eq!(mesh.svc("web").load_balancer, Some(failover(&near, OnlyHealthy)));
}

#[test]
fn an_unknown_distribution_is_told_and_spreads_evenly() {
    let mesh = Mesh::new(&service("web", "10.1.0.1", "trafficDistribution: PreferMoon"));
    assert_eq!(mesh.svc("web").load_balancer, None);
    assert!(mesh.problems()[0].contains("spec.trafficDistribution: \"PreferMoon\""));
}

#[test]
fn a_cluster_address_belongs_to_the_oldest_service() {
    let old = service("b", "10.1.0.1", "")
        .replace("name: b,", "name: b, creationTimestamp: '2026-01-01T00:00:00Z',");
    let mesh = Mesh::new(&[service("a", "10.1.0.1", ""), old].concat());
    assert_eq!(mesh.names(ResourceType::Address), ["shop/b.shop.svc.cluster.local"]);
    assert_eq!(
        mesh.problems(),
        [
            "Service shop/a: spec.clusterIP: 10.1.0.1 is already the address of Service shop/b; the service is left out"
        ]
    );
}

#[test]
fn a_service_entry_is_a_service_for_each_host() {
    let mesh = Mesh::new(&entry(
        "name: e",
        "hosts: [a.example, B.example], addresses: [10.2.0.1, 10.3.0.0/16, 10.2.0.2/32], resolution: STATIC, subjectAltNames: ['spiffe://x/ns/a/sa/b'], ports: [{number: 443, name: tls}]",
    ));
    let a = mesh.service("shop/a.example").unwrap();
    assert_eq!(vips(&a), ["/10.2.0.1", "/10.2.0.2"]);
    assert_eq!(a.cidr_vips[0].to_string(), "/10.3.0.0/16");
    assert_eq!((&*a.name, &*a.subject_alt_names[0]), ("e", "spiffe://x/ns/a/sa/b"));
    assert!(mesh.service("shop/b.example").is_some(), "host names have no case");
}

#[test]
fn resolution_none_passes_through() {
    let e = Mesh::new(&entry("name: e", "hosts: ['*.example'], ports: [{number: 443, name: tls}]"))
        .service("shop/*.example")
        .unwrap();
    let lb = e.load_balancer.unwrap();
    assert_eq!(
        (lb.mode, lb.health_policy),
        (LoadBalancerMode::Passthrough, HealthPolicy::AllowAll)
    );
    assert_eq!(e.vips, []);
}

#[test]
fn hosts_without_address_are_given_one_of_each_family() {
    let range4: ipnet::IpNet = "240.240.0.0/16".parse().unwrap();
    let range6: ipnet::IpNet = "2001:2::/48".parse().unwrap();
    let spec = "hosts: [a.example, b.example], resolution: DNS, ports: [{number: 80, name: http}]";
    let mut mesh = Mesh::new(&entry("name: e", spec));
    let of = |mesh: &Mesh, host: &str| -> Vec<NetworkAddress> {
        mesh.service(&format!("shop/{host}")).unwrap().vips
    };
    let (a, b) = (of(&mesh, "a.example"), of(&mesh, "b.example"));
    for vips in [&a, &b] {
        assert!(range4.contains(&vips[0].address) && range6.contains(&vips[1].address), "{vips:?}");
    }
    assert_ne!(a, b);
    mesh.write("other.yaml", &entry("name: d", "hosts: [c.example], resolution: STATIC"));
    assert_eq!(of(&mesh, "a.example"), a, "addresses are stable");
    let off = Mesh::new(&entry(
        "name: e, labels: {networking.istio.io/enable-autoallocate-ip: 'false'}",
        spec,
    ));
    assert_eq!(of(&off, "a.example"), []);
    let wildcard = Mesh::new(&entry("name: e", "hosts: ['*.example'], resolution: STATIC"));
    assert_eq!(of(&wildcard, "*.example"), []);
}

#[test]
fn a_hostname_belongs_to_kubernetes_or_to_the_oldest() {
    let host = "web.shop.svc.cluster.local";
    let rival = entry("name: e", &format!("hosts: [{host}, other.example], resolution: STATIC"));
    let mut mesh = Mesh::new(&[service("web", "10.1.0.1", ""), rival].concat());
    assert_eq!(
        mesh.service(&format!("shop/{host}")).unwrap().vips[0].address,
        "10.1.0.1".parse::<IpAddr>().unwrap()
    );
    assert_eq!(
        mesh.problems(),
        [format!(
            "ServiceEntry shop/e: spec.hosts[0]: {host} is already the host of Service shop/web; this one is left out"
        )]
    );
    assert!(mesh.service("shop/other.example").is_some());
    let old = entry(
        "name: z, creationTimestamp: '2020-01-01T00:00:00Z'",
        "hosts: [other.example], resolution: STATIC",
    );
    mesh.write("old.yaml", &old);
    assert_eq!(&*mesh.service("shop/other.example").unwrap().name, "z");
    mesh.write("old.yaml", "");
    assert_eq!(&*mesh.service("shop/other.example").unwrap().name, "e");
}

#[test]
fn one_service_of_a_hostname_is_the_canonical_one() {
    let in_namespace = |namespace: &str, more: &str, spec: &str| {
        entry(&format!("name: e{more}"), &format!("hosts: [x.example], resolution: STATIC{spec}"))
            .replace("namespace: shop", &format!("namespace: {namespace}"))
    };
    let young = in_namespace("a", ", creationTimestamp: '2026-01-02T00:00:00Z'", "");
    let old = in_namespace("b", ", creationTimestamp: '2026-01-01T00:00:00Z'", "");
    let private =
        in_namespace("c", ", creationTimestamp: '2020-01-01T00:00:00Z'", ", exportTo: ['.']");
    let mut mesh = Mesh::new(&[young, old, private].concat());
    let canonical = |mesh: &Mesh| {
        ["a", "b", "c"]
            .map(|ns| mesh.service(&format!("{ns}/x.example")).is_some_and(|s| s.canonical))
    };
    assert_eq!(canonical(&mesh), [false, true, false]);
    assert_eq!(mesh.service("c/x.example").unwrap().visibility, Visibility::Namespace);
    mesh.write("mesh.yaml", &in_namespace("a", "", ""));
    assert_eq!(canonical(&mesh), [true, false, false]);
}
