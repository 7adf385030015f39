//! Section 7, the choice of an endpoint: ports, eligibility, addresses, failover after a failed dial.

use ambit_model::{
    HealthPolicy, HealthStatus, IpFamilies, LoadBalancerMode, NetworkMode, PortMap, TunnelProtocol,
};

use super::*;

fn cart() -> Service {
    service("cart", "10.1.0.1")
}

fn endpoint(name: &str, ip: &str) -> Workload {
    of(&["cart"], pod(name, ip))
}

fn with_port(ports: PortMap, workload: Workload) -> Workload {
    but(workload, |w| {
        w.services.insert(key("cart"), ports);
    })
}

#[test]
fn port_mapping() {
    let cases: [(_, PortMap, PortMap, _); 6] = [
        ("the service's number", [(80, 8080)].into(), [].into(), "authority 10.0.0.2:8080"),
        (
            "the endpoint's own first",
            [(80, 8080)].into(),
            [(80, 9090)].into(),
            "authority 10.0.0.2:9090",
        ),
        ("a named port", [(80, 0)].into(), [(80, 9090)].into(), "authority 10.0.0.2:9090"),
        (
            "a named port it lacks",
            [(80, 0)].into(),
            [(81, 9090)].into(),
            "refuse no_healthy_upstream",
        ),
        (
            "a port the service lacks",
            [(81, 8080)].into(),
            [(80, 9090)].into(),
            "refuse unknown_port",
        ),
        ("no ports", [].into(), [].into(), "refuse unknown_port"),
    ];
    for (case, of_service, of_endpoint, expected) in cases {
        let cart = but(cart(), |s| s.ports = of_service);
        let endpoint = with_port(of_endpoint, endpoint("cart", "10.0.0.2"));
        let went = mesh([cart.into(), endpoint.into()]).to("10.1.0.1:80");
        assert!(went.contains(expected), "{case}: {went}");
    }
}

#[test]
fn endpoints_that_lack_a_named_port_are_passed_over() {
    let cart = but(cart(), |s| s.ports = [(80, 0)].into());
    let has = with_port([(80, 9090)].into(), endpoint("has", "10.0.0.2"));
    let lacks = with_port([].into(), endpoint("lacks", "10.0.0.3"));
    let all = mesh([cart.into(), has.into(), lacks.into()]).all_to("10.1.0.1:80");
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].contains("dial has"), "{all:?}");
}

#[test]
fn health() {
    let sick = || but(endpoint("sick", "10.0.0.3"), |w| w.status = HealthStatus::Unhealthy);
    let all_allowed = || {
        but(cart(), |s| {
            let policy = HealthPolicy::AllowAll;
            let mut balancer = balancer(LoadBalancerMode::Standard, &[]);
            balancer.health_policy = policy;
            s.load_balancer = Some(balancer);
        })
    };
    let well = || endpoint("well", "10.0.0.2");
    let all = mesh([cart().into(), sick().into(), well().into()]).all_to("10.1.0.1:80");
    assert!(all.len() == 1 && all[0].contains("dial well"), "{all:?}");
    let all = mesh([all_allowed().into(), sick().into(), well().into()]).all_to("10.1.0.1:80");
    assert_eq!(all.len(), 2, "{all:?}");
    let went = mesh([cart().into(), sick().into()]).to("10.1.0.1:80");
    assert!(went.starts_with("refuse no_healthy_upstream"), "{went}");
    // Whoever calls the pod itself gets it.
    assert!(mesh([sick().into()]).to("10.0.0.3:80").starts_with("hbone 10.0.0.3:15008"));
}

#[test]
fn eligibility() {
    let cases: [(_, fn(&mut Workload), _); 4] = [
        ("an address", |_| {}, "hbone 10.0.0.2:15008"),
        ("nothing", |w| w.workload_ips.clear(), "refuse no_healthy_upstream"),
        (
            "a hostname",
            |w| {
                w.workload_ips.clear();
                w.hostname = "cart.example".into();
            },
            "look up cart.example (IPv4) then hbone 9.9.9.9:15008 authority 9.9.9.9:8080 as cart",
        ),
        (
            "a gateway on the client's own network",
            |w| {
                w.workload_ips.clear();
                w.network_gateway = Some(at("/10.0.0.7"));
            },
            "refuse no_healthy_upstream",
        ),
    ];
    for (case, change, expected) in cases {
        let went = mesh([cart().into(), but(endpoint("cart", "10.0.0.2"), change).into()])
            .to("10.1.0.1:80");
        assert!(went.starts_with(expected), "{case}: {went}");
    }
}

#[test]
fn workloads_with_a_hostname_are_looked_up() {
    let external = but(endpoint("external", "0.0.0.0"), |w| {
        w.workload_ips.clear();
        w.hostname = "api.example.com".into();
        w.protocol = TunnelProtocol::Tcp;
    });
    let v6 = but(cart(), |s| s.vips.push("/2001:db8::1".parse().unwrap()));
    let case = mesh([v6.into(), external.into()]);
    let expected = |family| {
        format!(
            "look up api.example.com (IPv{family}) then tcp 9.9.9.9:8080, dial external, of cart"
        )
    };
    assert_eq!(case.to("10.1.0.1:80"), expected(4));
    assert_eq!(case.to("[2001:db8::1]:80"), expected(6));
}

#[test]
fn pod_ip_choice() {
    let dual = |families| {
        let cart = but(cart(), |s| {
            s.ip_families = families;
            s.vips.push("/2001:db8::1".parse().unwrap());
        });
        let pod =
            but(endpoint("cart", "10.0.0.2"), |w| w.workload_ips.push("fd00::2".parse().unwrap()));
        mesh([cart.into(), pod.into()])
    };
    let (v4, v6) = ("10.1.0.1:80", "[2001:db8::1]:80");
    let (to_v4, to_v6) = ("hbone 10.0.0.2:15008", "hbone [fd00::2]:15008");
    let cases = [
        (None, v4, to_v4),
        (None, v6, to_v6),
        (Some(IpFamilies::Dual), v6, to_v6),
        (Some(IpFamilies::V4), v4, to_v4),
        (Some(IpFamilies::V4), v6, to_v4),
        (Some(IpFamilies::V6), v4, to_v6),
    ];
    for (families, destination, expected) in cases {
        let went = dual(families).to(destination);
        assert!(went.starts_with(expected), "{families:?} {destination}: {went}");
    }
    // The very address that was asked for.
    assert!(dual(None).to("[fd00::2]:80").starts_with(to_v6));
    // Also where it is not the first of its family.
    let twice = but(pod("cart", "10.0.0.2"), |w| w.workload_ips.push([10, 0, 0, 3].into()));
    assert!(mesh([twice.into()]).to("10.0.0.3:80").starts_with("hbone 10.0.0.3:15008"));
    // None of the family that is allowed.
    let only_v6 = but(cart(), |s| s.ip_families = Some(IpFamilies::V6));
    let went = mesh([only_v6.into(), endpoint("cart", "10.0.0.2").into()]).to(v4);
    assert!(went.starts_with("refuse no_healthy_upstream"), "{went}");
}

#[test]
fn host_network_workloads_are_endpoints_and_nothing_else() {
    let host = but(endpoint("host", "10.0.0.2"), |w| {
        w.network_mode = NetworkMode::HostNetwork;
        w.protocol = TunnelProtocol::Tcp;
    });
    let case = mesh([cart().into(), host.into()]);
    assert_eq!(case.to("10.0.0.2:8080"), "passthrough 10.0.0.2:8080");
    assert_eq!(case.to("10.1.0.1:80"), "tcp 10.0.0.2:8080, dial host, of cart");
}

#[test]
fn headless_services_are_reached_by_pod() {
    let headless = service("cart", "");
    let case = mesh([headless.into(), endpoint("cart", "10.0.0.2").into()]);
    assert_eq!(
        case.to("10.0.0.2:8080"),
        "hbone 10.0.0.2:15008 authority 10.0.0.2:8080 as cart, dial cart"
    );
}

#[test]
fn hairpin_through_the_service() {
    let itself = of(&["cart"], client());
    let went = mesh([cart().into(), itself.into()]).to("10.1.0.1:80");
    assert!(went.starts_with("hbone 10.0.0.1:15008 authority 10.0.0.1:8080"), "{went}");
}

#[test]
fn every_endpoint_gets_its_turn() {
    let endpoints = (2..10).map(|i| endpoint(&format!("cart-{i}"), &format!("10.0.0.{i}")).into());
    let all = mesh([cart().into()].into_iter().chain(endpoints)).all_to("10.1.0.1:80");
    assert_eq!(all.len(), 8, "{all:?}");
}

#[test]
fn a_failed_dial_gives_place_to_another_endpoint() {
    let case = || {
        let (a, b) = (endpoint("a", "10.0.0.2"), endpoint("b", "10.0.0.3"));
        mesh([cart().into(), a.into(), b.into()])
    };
    assert_eq!(case().all_to("10.1.0.1:80").len(), 2);
    let left = case().tried(&["a"]).all_to("10.1.0.1:80");
    assert!(left.len() == 1 && left[0].contains("dial b"), "{left:?}");
    let none = case().tried(&["a", "b"]).to("10.1.0.1:80");
    assert!(none.starts_with("refuse no_healthy_upstream"), "{none}");
}

#[test]
fn a_failed_dial_of_a_pod_called_by_address_is_final() {
    let went = mesh([pod("cart", "10.0.0.2").into()]).tried(&["cart"]).to("10.0.0.2:80");
    assert!(went.starts_with("refuse endpoints_exhausted"), "{went}");
    assert!(went.contains(&*uid("cart")), "{went}");
}

#[test]
fn a_failed_dial_of_a_waypoint_gives_place_to_another() {
    let way = but(service("way", ""), |s| s.ports = [(15008, 15008)].into());
    let cart = but(cart(), |s| s.waypoint = Some(named("way")));
    let case = || {
        let ways = [("way-1", "10.0.0.8"), ("way-2", "10.0.0.9")];
        let pods = ways.map(|(name, ip)| of(&["way"], pod(name, ip)).into());
        mesh([cart.clone().into(), way.clone().into()].into_iter().chain(pods))
    };
    let left = case().tried(&["way-1"]).all_to("10.1.0.1:80");
    assert!(left.len() == 1 && left[0].contains("dial way-2"), "{left:?}");
    let none = case().tried(&["way-1", "way-2"]).to("10.1.0.1:80");
    assert!(none.starts_with("refuse unknown_waypoint"), "{none}");
    // The workload behind a waypoint counts as tried only if it was dialled itself.
    let behind = but(pod("cart", "10.0.0.2"), |w| w.waypoint = Some(named("way")));
    let mesh = mesh([way.into(), of(&["way"], pod("way", "10.0.0.9")).into(), behind.into()]);
    assert!(mesh.tried(&["cart"]).to("10.0.0.2:80").starts_with("waypoint 10.0.0.9:15008"));
}
