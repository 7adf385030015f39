//! Rows 2 and 5 of table 2.4, and 2.7: other networks, through their gateways.

use super::*;

/// What istiod says about service `cart` on network `far`: a workload without address behind a gateway.
fn remote(service: &str) -> Workload {
    but(of(&[service], pod("remote", "0.0.0.0")), |w| {
        w.workload_ips.clear();
        w.network = "far".into();
        w.network_gateway = Some(at("far/192.0.2.1"));
    })
}

/// The gateway's own workload.
fn gateway() -> Workload {
    but(pod("gateway", "192.0.2.1"), |w| w.network = "far".into())
}

fn with_names(service: Service) -> Service {
    let name = |account| Str::from(format!("spiffe://cluster.local/ns/shop/sa/{account}"));
    Service { subject_alt_names: vec![name("remote-a"), name("remote-b")], ..service }
}

fn cart() -> Service {
    with_names(service("cart", "10.1.0.1"))
}

const THROUGH_GATEWAY: &str = "double 192.0.2.1:15008 as gateway authority cart.shop:80 \
     as remote-a+remote-b, dial gateway, for remote, of cart";

#[test]
fn row_5_endpoint_in_another_network() {
    let case = mesh([cart().into(), remote("cart").into(), gateway().into()]);
    assert_eq!(case.to("10.1.0.1:80"), THROUGH_GATEWAY);
}

#[test]
fn row_5_an_endpoints_own_address_means_nothing_on_another_network() {
    let endpoint = but(remote("cart"), |w| w.workload_ips = vec![[10, 0, 0, 2].into()]);
    let case = mesh([cart().into(), endpoint.into(), gateway().into()]);
    assert_eq!(case.to("10.1.0.1:80"), THROUGH_GATEWAY);
}

#[test]
fn row_2_waypoint_in_another_network() {
    let cart = but(service("cart", "10.1.0.1"), |s| s.waypoint = Some(named("way")));
    let way = with_names(but(service("way", ""), |s| s.ports = [(15008, 15008)].into()));
    let case = mesh([cart.into(), way.into(), remote("way").into(), gateway().into()]);
    // The inner tunnel ends at the waypoint, so its service's names count.
    assert_eq!(case.to("10.1.0.1:80"), THROUGH_GATEWAY);
}

#[test]
fn gateways_are_named_in_four_ways() {
    let gateway_service = |vip: &str| {
        but(service("gw", ""), |s| {
            s.ports = [(15008, 15443)].into();
            s.vips = vec![vip.parse().unwrap()];
            s.subject_alt_names = vec!["spiffe://cluster.local/ns/shop/sa/gw-service".into()];
        })
    };
    let by_hostname = but(gateway(), |w| {
        w.workload_ips.clear();
        w.hostname = "gw.shop".into();
    });
    let cases = [
        (
            "workload by address",
            at("far/192.0.2.1"),
            vec![gateway().into()],
            "double 192.0.2.1:15008 as gateway",
        ),
        (
            "service by address",
            at("far/192.0.2.7"),
            vec![gateway_service("far/192.0.2.7").into(), of(&["gw"], gateway()).into()],
            "double 192.0.2.1:15443 as gateway+gw-service",
        ),
        (
            "service by hostname",
            named("gw"),
            vec![gateway_service("far/192.0.2.7").into(), of(&["gw"], gateway()).into()],
            "double 192.0.2.1:15443 as gateway+gw-service",
        ),
        (
            "workload by hostname",
            named("gw"),
            vec![by_hostname.into()],
            "look up gw.shop (IPv4) then double 9.9.9.9:15008 as gateway",
        ),
    ];
    for (case, address, updates, expected) in cases {
        let endpoint = but(remote("cart"), |w| w.network_gateway = Some(address));
        let went =
            mesh([cart().into(), endpoint.into()].into_iter().chain(updates)).to("10.1.0.1:80");
        assert!(went.starts_with(expected), "{case}: {went}");
        assert!(went.contains(" authority cart.shop:80 as remote-a+remote-b"), "{case}: {went}");
    }
}

#[test]
fn refusals_on_the_way_to_another_network() {
    let endpoint = remote("cart");
    let no_gateway = but(endpoint.clone(), |w| w.network_gateway = None);
    let stranger = but(endpoint.clone(), |w| w.network_gateway = Some(named("nobody")));
    let nameless = service("cart", "10.1.0.1");
    let cases: [(_, Vec<Update>, _); 4] = [
        ("no gateway", vec![cart().into(), no_gateway.into()], "refuse no_healthy_upstream"),
        ("unknown gateway", vec![cart().into(), stranger.into()], "refuse unknown_gateway"),
        (
            "gateway not arrived",
            vec![cart().into(), endpoint.clone().into()],
            "refuse unknown_gateway",
        ),
        (
            "no names to verify",
            vec![nameless.into(), endpoint.into(), gateway().into()],
            "refuse no_remote_identity",
        ),
    ];
    for (case, updates, expected) in cases {
        let went = mesh(updates).to("10.1.0.1:80");
        assert!(went.starts_with(expected), "{case}: {went}");
    }
}

#[test]
fn an_endpoint_with_a_closed_way_gives_place_to_another() {
    let closed = but(remote("cart"), |w| {
        w.uid = uid("closed");
        w.name = "closed".into();
        // Chance alone would choose it again and again.
        w.capacity = u32::MAX;
        w.network_gateway = Some(at("far/192.0.2.99"));
    });
    let case = mesh([cart().into(), remote("cart").into(), closed.into(), gateway().into()]);
    assert_eq!(case.all_to("10.1.0.1:80"), [THROUGH_GATEWAY]);
}

#[test]
fn a_gateway_that_failed_gives_place_to_another() {
    let second = but(of(&["gw"], pod("second", "192.0.2.2")), |w| w.network = "far".into());
    let gateways = but(service("gw", ""), |s| s.ports = [(15008, 15008)].into());
    let endpoint = but(remote("cart"), |w| w.network_gateway = Some(named("gw")));
    let case = || {
        mesh([
            cart().into(),
            endpoint.clone().into(),
            gateways.clone().into(),
            of(&["gw"], gateway()).into(),
            second.clone().into(),
        ])
    };
    assert_eq!(case().all_to("10.1.0.1:80").len(), 2);
    let left = case().tried(&["gateway"]).all_to("10.1.0.1:80");
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with("double 192.0.2.2:15008"), "{left:?}");
    let none = case().tried(&["gateway", "second"]).to("10.1.0.1:80");
    assert!(none.starts_with("refuse unknown_gateway"), "{none}");
}

#[test]
fn a_gateway_named_by_address_that_failed_is_not_dialled_again() {
    let case = mesh([cart().into(), remote("cart").into(), gateway().into()]);
    let went = case.tried(&["gateway"]).to("10.1.0.1:80");
    assert!(went.starts_with("refuse unknown_gateway"), "{went}");
}

#[test]
fn a_workload_of_another_network_is_not_found_by_address() {
    let far = but(pod("far", "10.0.0.2"), |w| w.network = "far".into());
    assert_eq!(mesh([far.into()]).to("10.0.0.2:80"), "passthrough 10.0.0.2:80");
}
