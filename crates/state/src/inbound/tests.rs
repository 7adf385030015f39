//! Table 2.5, steps 4 and 5 case by case, 2.6, and the lookup of the source.

use ambit_model::{ApplicationTunnel, TunnelProtocol, WeightedWaypoint};

use super::*;
use crate::Update;
use crate::fixtures::*;

const PROXY_PORTS: [u16; 3] = [15001, 15006, 15008];

/// The pod whose tunnel port is reached, at 10.0.0.2, an endpoint of service `cart` at 10.1.0.1.
fn local() -> Workload {
    of(&["cart"], pod("cart", "10.0.0.2"))
}

fn cart() -> Service {
    service("cart", "10.1.0.1")
}

struct Case {
    updates: Vec<Update>,
    local: Workload,
    forwarded_host: Option<&'static str>,
}

fn case(local: Workload, more: impl IntoIterator<Item = Update>) -> Case {
    let updates = [cart().into(), local.clone().into()].into_iter().chain(more).collect();
    Case { updates, local, forwarded_host: None }
}

impl Case {
    fn resolve(&self, authority: &str) -> Result<InboundTarget, InboundError> {
        let target = match authority.parse() {
            Ok(address) => Target::Address(address),
            Err(_) => {
                let (host, port) = authority.split_once(':').unwrap();
                Target::Hostname { host: host.into(), port: port.parse().unwrap() }
            }
        };
        let request = InboundRequest {
            local: &self.local,
            local_ip: self.local.workload_ips[0],
            target: &target,
            forwarded_host: self.forwarded_host,
            proxy_ports: &PROXY_PORTS,
        };
        resolve_inbound(&snapshot(self.updates.clone()), &request)
    }

    /// What happens, in words.
    fn to(&self, authority: &str) -> String {
        match self.resolve(authority) {
            Err(error) => format!("{} {}", error.status(), error.reason()),
            Ok(InboundTarget { upstream, service, proxy_header }) => {
                let service = service.map(|service| format!(" of {}", service.name));
                let header = proxy_header.map(|header| format!(" PROXY {}", header.destination));
                format!("{upstream}{}{}", service.unwrap_or_default(), header.unwrap_or_default())
            }
        }
    }
}

fn tunnel(protocol: ApplicationTunnelProtocol, port: Option<u16>) -> Workload {
    but(local(), |w| w.application_tunnel = Some(ApplicationTunnel { protocol, port }))
}

// === step 4: the destination is valid ===

#[test]
fn step_4_the_local_address() {
    assert_eq!(case(local(), []).to("10.0.0.2:8080"), "10.0.0.2:8080 of cart");
    assert_eq!(case(local(), []).to("[::ffff:10.0.0.2]:8080"), "10.0.0.2:8080 of cart");
    let mapped = but(local(), |w| w.workload_ips = vec!["::ffff:10.0.0.2".parse().unwrap()]);
    assert_eq!(case(mapped, []).to("10.0.0.2:8080"), "10.0.0.2:8080 of cart");
}

#[test]
fn step_4_another_address_is_refused() {
    let case = case(local(), [pod("other", "10.0.0.3").into()]);
    for authority in ["10.0.0.3:8080", "10.1.0.1:80", "192.0.2.1:80", "[fd00::2]:8080"] {
        assert_eq!(case.to(authority), "400 address_mismatch", "{authority}");
    }
    let message = case.resolve("10.0.0.3:8080").unwrap_err().to_string();
    assert!(message.contains("10.0.0.3") && message.contains("10.0.0.2"), "{message}");
}

#[test]
fn step_4_a_workload_with_an_application_tunnel_takes_any_address() {
    let case = case(tunnel(ApplicationTunnelProtocol::Proxy, Some(15088)), []);
    assert_eq!(case.to("192.0.2.1:80"), "10.0.0.2:15088 PROXY 192.0.2.1:80");
}

#[test]
fn step_4_what_this_workload_is_the_waypoint_of() {
    let front = |waypoint| but(service("front", "10.1.0.5"), |s| s.waypoint = waypoint);
    let behind = |waypoint| but(pod("behind", "10.0.0.5"), |w| w.waypoint = waypoint);
    let weighted = but(service("front", "10.1.0.5"), |s| {
        s.weighted_waypoints = vec![
            WeightedWaypoint { destination: named("other"), weight: 90 },
            WeightedWaypoint { destination: named("cart"), weight: 10 },
        ];
    });
    let range = but(front(Some(named("cart"))), |s| {
        s.vips.clear();
        s.cidr_vips = vec![cidr("10.1.0.0/28")];
    });
    let other = || service("other", "10.1.0.6").into();
    let (vip, ip) = ("10.1.0.5:80", "10.0.0.5:80");
    let (ours, theirs) = ("10.0.0.2:80", "400 address_mismatch");
    let cases: [(_, Update, _, _); 11] = [
        ("service, by our service's name", front(Some(named("cart"))).into(), vip, ours),
        ("service, by our service's address", front(Some(at("/10.1.0.1"))).into(), vip, ours),
        ("service, by our own address", front(Some(at("/10.0.0.2"))).into(), vip, ours),
        ("service, one of several", weighted.into(), vip, ours),
        ("service, by range", range.into(), vip, ours),
        ("workload", behind(Some(named("cart"))).into(), ip, ours),
        ("service of another waypoint", front(Some(named("other"))).into(), vip, theirs),
        ("service of an unknown waypoint", front(Some(named("gone"))).into(), vip, theirs),
        ("service without waypoint", front(None).into(), vip, theirs),
        ("workload of another waypoint", behind(Some(named("other"))).into(), ip, theirs),
        ("workload without waypoint", behind(None).into(), ip, theirs),
    ];
    for (name, update, authority, expected) in cases {
        assert_eq!(case(local(), [other(), update]).to(authority), expected, "{name}");
    }
}

#[test]
fn step_4_an_unhealthy_waypoint_is_one_still() {
    let front = but(service("front", "10.1.0.5"), |s| s.waypoint = Some(named("cart")));
    let local = but(local(), |w| w.status = ambit_model::HealthStatus::Unhealthy);
    assert_eq!(case(local, [front.into()]).to("10.1.0.5:80"), "10.0.0.2:80");
}

// === step 5: the upstream ===

#[test]
fn step_5_hostname() {
    let own_port = |port| {
        but(local(), |w| {
            w.services.insert(key("cart"), [(80, port)].into());
        })
    };
    let named_port = || but(cart(), |s| s.ports = [(80, 0)].into()).into();
    let hidden = || {
        but(service("hidden", "10.1.0.7"), |s| {
            s.namespace = "elsewhere".into();
            s.visibility = ambit_model::Visibility::Namespace;
        })
    };
    let cases: [(_, Workload, Vec<Update>, _, _); 8] = [
        ("the service's port", local(), vec![], "cart.shop:80", "10.0.0.2:8080 of cart"),
        ("its own port first", own_port(9090), vec![], "cart.shop:80", "10.0.0.2:9090 of cart"),
        (
            "a named port",
            own_port(9090),
            vec![named_port()],
            "cart.shop:80",
            "10.0.0.2:9090 of cart",
        ),
        ("a named port it lacks", local(), vec![named_port()], "cart.shop:80", "503 unknown_port"),
        ("a port the service lacks", local(), vec![], "cart.shop:81", "503 unknown_port"),
        ("an unknown hostname", local(), vec![], "nobody.shop:80", "503 unknown_hostname"),
        (
            "an invisible service",
            local(),
            vec![hidden().into()],
            "hidden.shop:80",
            "503 unknown_hostname",
        ),
        (
            "a service it fronts and is no endpoint of",
            local(),
            vec![service("front", "10.1.0.5").into()],
            "front.shop:80",
            "10.0.0.2:8080 of front",
        ),
    ];
    for (name, local, more, authority, expected) in cases {
        assert_eq!(case(local, more).to(authority), expected, "{name}");
    }
}

#[test]
fn step_5_of_several_services_of_a_hostname() {
    let twin = |namespace: &str, canonical| {
        let service = but(service("cart", ""), |s| {
            s.name = namespace.into();
            s.namespace = namespace.into();
            s.hostname = "twin".into();
            s.canonical = canonical;
        });
        Update::from(service)
    };
    let cases = [
        ("own namespace", vec![twin("a", true), twin("shop", false)], "10.0.0.2:8080 of shop"),
        ("canonical", vec![twin("a", false), twin("b", true)], "10.0.0.2:8080 of b"),
        ("the first", vec![twin("b", false), twin("a", false)], "10.0.0.2:8080 of a"),
    ];
    for (name, services, expected) in cases {
        assert_eq!(case(local(), services).to("twin:80"), expected, "{name}");
    }
}

#[test]
fn step_5_ports_of_the_proxy() {
    for port in PROXY_PORTS {
        assert_eq!(case(local(), []).to(&format!("10.0.0.2:{port}")), "503 self_call");
    }
    let cart = but(cart(), |s| s.ports = [(80, 15008)].into());
    assert_eq!(case(local(), [cart.into()]).to("cart.shop:80"), "503 self_call");
    // Also where a tunnel would send it elsewhere.
    let tunnel = tunnel(ApplicationTunnelProtocol::Proxy, Some(15088));
    assert_eq!(case(tunnel, []).to("10.0.0.2:15008"), "503 self_call");
}

#[test]
fn step_5_workloads_outside_the_mesh_are_served_alike() {
    let local = but(local(), |w| w.protocol = TunnelProtocol::Tcp);
    assert_eq!(case(local, []).to("10.0.0.2:8080"), "10.0.0.2:8080 of cart");
}

// === 2.6: the application tunnel ===

#[test]
fn application_tunnels() {
    use ApplicationTunnelProtocol::{None as Plain, Proxy};
    let vips = |vips: &[&str]| {
        let vips = vips.iter().map(|vip| vip.parse().unwrap()).collect();
        but(cart(), |s| s.vips = vips).into()
    };
    let cases: [(_, _, _, Vec<Update>, _, _); 9] = [
        (
            "PROXY with a port",
            Proxy,
            Some(15088),
            vec![],
            "10.0.0.2:8080",
            "10.0.0.2:15088 of cart PROXY 10.0.0.2:8080",
        ),
        (
            "PROXY without port",
            Proxy,
            None,
            vec![],
            "10.0.0.2:8080",
            "10.0.0.2:8080 of cart PROXY 10.0.0.2:8080",
        ),
        ("NONE with a port", Plain, Some(15088), vec![], "10.0.0.2:8080", "10.0.0.2:15088 of cart"),
        ("NONE without port", Plain, None, vec![], "10.0.0.2:8080", "10.0.0.2:8080 of cart"),
        (
            "hostname: the service's address and port",
            Proxy,
            Some(15088),
            vec![],
            "cart.shop:80",
            "10.0.0.2:15088 of cart PROXY 10.1.0.1:80",
        ),
        (
            "hostname: own network before IPv4",
            Proxy,
            Some(15088),
            vec![vips(&["far/10.1.0.9", "/2001:db8::1"])],
            "cart.shop:80",
            "10.0.0.2:15088 of cart PROXY [2001:db8::1]:80",
        ),
        (
            "hostname: IPv4 before IPv6",
            Proxy,
            Some(15088),
            vec![vips(&["/2001:db8::1", "/10.1.0.9"])],
            "cart.shop:80",
            "10.0.0.2:15088 of cart PROXY 10.1.0.9:80",
        ),
        (
            "hostname without address",
            Proxy,
            Some(15088),
            vec![vips(&[])],
            "cart.shop:80",
            "503 no_service_address",
        ),
        (
            "NONE needs none",
            Plain,
            Some(15088),
            vec![vips(&[])],
            "cart.shop:80",
            "10.0.0.2:15088 of cart",
        ),
    ];
    for (name, protocol, port, more, authority, expected) in cases {
        assert_eq!(case(tunnel(protocol, port), more).to(authority), expected, "{name}");
    }
}

// === telemetry ===

#[test]
fn the_service_that_was_meant() {
    let local = of(&["cart", "metrics"], pod("cart", "10.0.0.2"));
    let local = but(local, |w| {
        w.services.insert(key("named"), [(90, 9999)].into());
    });
    let metrics = but(service("metrics", ""), |s| s.ports = [(90, 9090)].into());
    let named = but(service("named", ""), |s| s.ports = [(90, 0)].into());
    let mut case = case(local, [metrics.into(), named.into(), service("stranger", "").into()]);
    assert_eq!(case.to("10.0.0.2:8080"), "10.0.0.2:8080 of cart");
    assert_eq!(case.to("10.0.0.2:9090"), "10.0.0.2:9090 of metrics");
    assert_eq!(case.to("10.0.0.2:9999"), "10.0.0.2:9999 of named", "by its own port");
    assert_eq!(case.to("10.0.0.2:7777"), "10.0.0.2:7777", "no service has that port");
    case.forwarded_host = Some("metrics.shop");
    assert_eq!(case.to("10.0.0.2:8080"), "10.0.0.2:8080 of metrics", "the client says so");
    case.forwarded_host = Some("stranger.shop");
    assert_eq!(case.to("10.0.0.2:8080"), "10.0.0.2:8080 of cart", "not one of ours");
}

#[test]
fn the_source() {
    let here = but(pod("here", "10.0.0.7"), |w| w.network = "Net".into());
    let far = but(pod("far", "10.0.0.8"), |w| w.network = "far".into());
    let local = but(local(), |w| w.network = "Net".into());
    let snapshot = snapshot([here.into(), far.into()]);
    let cases = [
        ("10.0.0.7", None, Some("here")),
        ("::ffff:10.0.0.7", None, Some("here")),
        ("10.0.0.7", Some("Net"), Some("here")),
        ("10.0.0.7", Some("nET"), Some("here")),
        ("10.0.0.7", Some("far"), None),
        ("10.0.0.8", None, None),
        ("10.0.0.8", Some("far"), None),
    ];
    for (ip, forwarded, expected) in cases {
        let source = inbound_source(&snapshot, &local, ip.parse().unwrap(), forwarded);
        let name = source.map(|workload| workload.name.to_string());
        assert_eq!(name.as_deref(), expected, "{ip} {forwarded:?}");
    }
}
