//! Table 2.4: one test per row, named after it.

use ambit_model::{
    ApplicationTunnel, ApplicationTunnelProtocol, LoadBalancerMode, TunnelProtocol,
    WeightedWaypoint,
};

use super::*;

/// Service `cart` at 10.1.0.1 with pod `cart` at 10.0.0.2, waypoint service `way` with pod `way` at 10.0.0.9.
fn cart_and_way(change: impl FnOnce(&mut Service, &mut Workload)) -> Vec<Update> {
    let (mut cart, mut pod_of_cart) =
        (service("cart", "10.1.0.1"), of(&["cart"], pod("cart", "10.0.0.2")));
    change(&mut cart, &mut pod_of_cart);
    let way = but(service("way", "10.1.0.9"), |s| s.ports = [(15008, 15008)].into());
    vec![cart.into(), pod_of_cart.into(), way.into(), of(&["way"], pod("way", "10.0.0.9")).into()]
}

#[test]
fn row_0_loopback_with_a_port_of_the_proxy() {
    let mesh = mesh([]);
    for destination in
        ["127.0.0.1:15001", "127.8.8.8:15006", "[::1]:15008", "[::ffff:127.0.0.1]:15001"]
    {
        assert!(mesh.to(destination).starts_with("refuse self_call"), "{destination}");
    }
    assert_eq!(mesh.to("127.0.0.1:8080"), "passthrough 127.0.0.1:8080");
    assert_eq!(mesh.to("10.9.9.9:15001"), "passthrough 10.9.9.9:15001");
}

#[test]
fn row_1_service_with_a_waypoint() {
    let by_name = mesh(cart_and_way(|cart, _| cart.waypoint = Some(named("way"))));
    let expected = "waypoint 10.0.0.9:15008 authority 10.1.0.1:80 as way, dial way, of cart";
    assert_eq!(by_name.to("10.1.0.1:80"), expected);
    let by_address = mesh(cart_and_way(|cart, _| cart.waypoint = Some(at("/10.1.0.9"))));
    assert_eq!(by_address.to("10.1.0.1:80"), expected);
    let by_pod_address = mesh(cart_and_way(|cart, _| cart.waypoint = Some(at("/10.0.0.9"))));
    assert_eq!(by_pod_address.to("10.1.0.1:80"), expected);
    // The waypoint knows the service's ports; the client need not.
    assert!(by_name.to("10.1.0.1:81").contains("authority 10.1.0.1:81"));
}

#[test]
fn row_1_a_passthrough_service_with_a_waypoint() {
    let mesh = mesh(cart_and_way(|cart, _| {
        cart.waypoint = Some(named("way"));
        cart.load_balancer = Some(balancer(LoadBalancerMode::Passthrough, &[]));
    }));
    assert!(mesh.to("10.1.0.1:80").starts_with("waypoint 10.0.0.9:15008"));
}

#[test]
fn row_1_the_waypoints_service_may_map_the_port() {
    let mut updates = cart_and_way(|cart, _| cart.waypoint = Some(named("way")));
    updates.push(but(service("way", "10.1.0.9"), |s| s.ports = [(15008, 15999)].into()).into());
    assert!(mesh(updates).to("10.1.0.1:80").starts_with("waypoint 10.0.0.9:15999 "));
}

#[test]
fn row_1_weighted_waypoints() {
    let weights = |weights: [u32; 2]| {
        let mut updates = cart_and_way(|cart, _| {
            cart.waypoint = Some(named("way"));
            cart.weighted_waypoints = ["way", "canary"]
                .iter()
                .zip(weights)
                .map(|(name, weight)| WeightedWaypoint { destination: named(name), weight })
                .collect();
        });
        let canary = but(service("canary", ""), |s| s.ports = [(15008, 15008)].into());
        updates.extend([canary.into(), of(&["canary"], pod("canary", "10.0.0.8")).into()]);
        mesh(updates)
    };
    let dialled = |mesh: Case| {
        let all = mesh.all_to("10.1.0.1:80");
        let way = all.iter().any(|way| way.contains("dial way"));
        (way, all.iter().any(|way| way.contains("dial canary")))
    };
    assert_eq!(dialled(weights([1, 1])), (true, true));
    assert_eq!(dialled(weights([0, 1])), (false, true));
    assert_eq!(dialled(weights([1, 0])), (true, false));
    // No weight at all falls back to the single waypoint.
    assert_eq!(dialled(weights([0, 0])), (true, false));
}

#[test]
fn row_1_weighted_waypoints_share_in_proportion() {
    let updates = cart_and_way(|cart, _| {
        let waypoint = |name, weight| WeightedWaypoint { destination: named(name), weight };
        cart.weighted_waypoints = vec![waypoint("way", 90), waypoint("canary", 10)];
    });
    let canary = but(service("canary", ""), |s| s.ports = [(15008, 15008)].into());
    let more = [canary.into(), of(&["canary"], pod("canary", "10.0.0.8")).into()];
    let mut mesh = mesh(updates.into_iter().chain(more));
    let canaries = (0..2000)
        .filter(|seed| {
            mesh.seed = *seed;
            mesh.to("10.1.0.1:80").contains("dial canary")
        })
        .count();
    assert!((150..250).contains(&canaries), "{canaries} of 2000");
}

#[test]
fn row_1_a_waypoint_that_is_not_there_refuses() {
    let unknown = mesh(cart_and_way(|cart, _| cart.waypoint = Some(named("gone"))));
    let message = unknown.to("10.1.0.1:80");
    assert!(message.starts_with("refuse unknown_waypoint"), "{message}");
    assert!(message.contains("shop/gone.shop") && message.contains("shop/cart.shop"), "{message}");
    let with = |more: Update| {
        let mut updates = cart_and_way(|cart, _| cart.waypoint = Some(named("way")));
        updates.push(more);
        mesh(updates).to("10.1.0.1:80")
    };
    assert!(with(Update::RemoveAddress(uid("way"))).starts_with("refuse unknown_waypoint"));
    // A waypoint cannot be dialled at somebody else's address.
    let passthrough = but(service("way", "10.1.0.9"), |s| {
        s.ports = [(15008, 15008)].into();
        s.load_balancer = Some(balancer(LoadBalancerMode::Passthrough, &[]));
    });
    assert!(with(passthrough.into()).starts_with("refuse unknown_waypoint"));
}

#[test]
fn row_1_waypoint_mode_needs_no_port_of_a_tunnelled_waypoint() {
    // The waypoint's service has no port 15008.
    let tunnel =
        ApplicationTunnel { protocol: ApplicationTunnelProtocol::Proxy, port: Some(15088) };
    for (tunnel, expected) in
        [(None, "refuse unknown_waypoint"), (Some(tunnel), "waypoint 10.0.0.9:15008")]
    {
        let mut updates = cart_and_way(|cart, _| cart.waypoint = Some(named("way")));
        let way = but(of(&["way"], pod("way", "10.0.0.9")), |w| w.application_tunnel = tunnel);
        updates.extend([service("way", "10.1.0.9").into(), way.into()]);
        assert!(mesh(updates).to("10.1.0.1:80").starts_with(expected), "{expected}");
    }
}

#[test]
fn row_3_endpoint_in_the_mesh() {
    let mesh = mesh(cart_and_way(|_, _| {}));
    assert_eq!(
        mesh.to("10.1.0.1:80"),
        "hbone 10.0.0.2:15008 authority 10.0.0.2:8080 as cart, dial cart, of cart"
    );
}

#[test]
fn row_3_the_services_names_are_accepted_as_well() {
    let mesh = mesh(cart_and_way(|cart, _| {
        let name = |account| Str::from(format!("spiffe://cluster.local/ns/shop/sa/{account}"));
        cart.subject_alt_names = vec![name("other"), "cart.example".into(), name("cart")];
    }));
    assert!(mesh.to("10.1.0.1:80").contains(" as cart+other,"), "{}", mesh.to("10.1.0.1:80"));
}

#[test]
fn row_3_the_workloads_waypoint_is_not_for_services() {
    let mesh = mesh(cart_and_way(|_, pod| pod.waypoint = Some(named("way"))));
    assert!(mesh.to("10.1.0.1:80").starts_with("hbone 10.0.0.2:15008"));
}

#[test]
fn row_4_endpoint_outside_the_mesh() {
    let mesh = mesh(cart_and_way(|_, pod| pod.protocol = TunnelProtocol::Tcp));
    assert_eq!(mesh.to("10.1.0.1:80"), "tcp 10.0.0.2:8080, dial cart, of cart");
}

#[test]
fn row_6_workload_with_a_waypoint() {
    let case = mesh(cart_and_way(|_, pod| pod.waypoint = Some(named("way"))));
    assert_eq!(
        case.to("10.0.0.2:8080"),
        "waypoint 10.0.0.9:15008 authority 10.0.0.2:8080 as way, dial way"
    );
    // Also where the workload itself is outside the mesh.
    let outside = mesh(cart_and_way(|_, pod| {
        pod.waypoint = Some(named("way"));
        pod.protocol = TunnelProtocol::Tcp;
    }));
    assert!(outside.to("10.0.0.2:8080").starts_with("waypoint 10.0.0.9:15008"));
}

#[test]
fn row_6_the_waypoint_itself_goes_straight() {
    let updates = || cart_and_way(|_, pod| pod.waypoint = Some(named("way")));
    let straight = "hbone 10.0.0.2:15008";
    let sources = [
        ("the waypoint", pod("way", "10.0.0.9"), straight),
        ("its identity from another address", pod("way", "10.0.0.7"), "waypoint 10.0.0.9"),
        ("its address with another identity", pod("imposter", "10.0.0.9"), "waypoint 10.0.0.9"),
        ("an IPv4-mapped address", pod("way", "::ffff:10.0.0.9"), straight),
    ];
    for (case, source, expected) in sources {
        let went = mesh(updates()).from(source).to("10.0.0.2:8080");
        assert!(went.starts_with(expected), "{case}: {went}");
    }
}

#[test]
fn row_6_a_waypoint_that_is_not_there_refuses() {
    let case = mesh(cart_and_way(|_, pod| pod.waypoint = Some(named("gone"))));
    let message = case.to("10.0.0.2:8080");
    assert!(message.starts_with("refuse unknown_waypoint"), "{message}");
    assert!(message.contains("shop/gone.shop") && message.contains(&*uid("cart")), "{message}");
}

#[test]
fn row_6_a_waypoint_of_another_network_refuses() {
    let mut updates = cart_and_way(|_, pod| pod.waypoint = Some(named("way")));
    let way = but(of(&["way"], pod("way", "10.0.0.9")), |w| {
        w.network = "far".into();
        w.network_gateway = Some(at("far/192.0.2.1"));
    });
    updates.push(way.into());
    let message = mesh(updates).to("10.0.0.2:8080");
    assert!(message.starts_with("refuse no_gateway"), "{message}");
}

#[test]
fn row_7_workload_in_the_mesh() {
    let case = mesh([pod("cart", "10.0.0.2").into()]);
    let expected = "hbone 10.0.0.2:15008 authority 10.0.0.2:9999 as cart, dial cart";
    assert_eq!(case.to("10.0.0.2:9999"), expected);
    assert_eq!(
        case.to("[::ffff:10.0.0.2]:9999"),
        expected,
        "a mapped address is what it stands for"
    );
}

#[test]
fn row_7_native_tunnels_change_nothing() {
    let case = mesh([but(pod("cart", "10.0.0.2"), |w| w.native_tunnel = true).into()]);
    assert!(case.to("10.0.0.2:9999").starts_with("hbone 10.0.0.2:15008 authority 10.0.0.2:9999"));
}

#[test]
fn row_7_workload_outside_the_mesh() {
    let case = mesh([but(pod("cart", "10.0.0.2"), |w| w.protocol = TunnelProtocol::Tcp).into()]);
    assert_eq!(case.to("10.0.0.2:9999"), "tcp 10.0.0.2:9999, dial cart");
}

#[test]
fn row_7_a_pod_calling_itself() {
    let case = mesh([client().into()]);
    assert!(case.to("10.0.0.1:9999").starts_with("hbone 10.0.0.1:15008 authority 10.0.0.1:9999"));
}

#[test]
fn row_8_no_endpoint_or_port() {
    let empty = mesh([service("cart", "10.1.0.1").into()]);
    let message = empty.to("10.1.0.1:80");
    assert!(message.starts_with("refuse no_healthy_upstream"), "{message}");
    assert!(message.contains("shop/cart.shop") && message.contains("80"), "{message}");
    let no_port = mesh(cart_and_way(|_, _| {}));
    let message = no_port.to("10.1.0.1:81");
    assert!(message.starts_with("refuse unknown_port"), "{message}");
    assert!(message.contains("shop/cart.shop") && message.contains("81"), "{message}");
}

#[test]
fn row_9_passthrough_service() {
    let case = mesh(cart_and_way(|cart, _| {
        cart.load_balancer = Some(balancer(LoadBalancerMode::Passthrough, &[]));
    }));
    assert_eq!(case.to("10.1.0.1:80"), "passthrough 10.1.0.1:80 of cart");
    assert_eq!(case.to("10.1.0.1:81"), "passthrough 10.1.0.1:81 of cart");
}

#[test]
fn row_9_unknown_destination() {
    let case = mesh(cart_and_way(|_, _| {}));
    assert_eq!(case.to("192.0.2.1:443"), "passthrough 192.0.2.1:443");
    assert_eq!(case.to("[2001:db8::1]:443"), "passthrough [2001:db8::1]:443");
    assert_eq!(case.to("[::ffff:192.0.2.1]:443"), "passthrough 192.0.2.1:443");
}

// A workload and a service at the same address.

#[test]
fn in_the_waypoint_step_the_workload_wins() {
    let case = mesh(cart_and_way(|cart, pod| {
        cart.vips = vec!["/10.0.0.2".parse().unwrap()];
        cart.waypoint = Some(named("way"));
        pod.waypoint = None;
    }));
    // Not the service's waypoint; then the service's endpoint and port.
    assert_eq!(
        case.to("10.0.0.2:80"),
        "hbone 10.0.0.2:15008 authority 10.0.0.2:8080 as cart, dial cart, of cart"
    );
}

#[test]
fn in_the_endpoint_step_the_service_wins() {
    let case = mesh(cart_and_way(|cart, _| {
        cart.vips = vec!["/10.0.0.2".parse().unwrap()];
        cart.load_balancer = Some(balancer(LoadBalancerMode::Passthrough, &[]));
    }));
    assert_eq!(case.to("10.0.0.2:80"), "passthrough 10.0.0.2:80 of cart");
    let without_endpoints =
        mesh([but(service("cart", "10.0.0.2"), |_| {}).into(), pod("cart", "10.0.0.2").into()]);
    assert!(without_endpoints.to("10.0.0.2:80").starts_with("refuse no_healthy_upstream"));
}

#[test]
fn where_both_are_the_endpoints_waypoint_counts() {
    let case = mesh(cart_and_way(|cart, pod| {
        cart.vips = vec!["/10.0.0.2".parse().unwrap()];
        pod.waypoint = Some(named("way"));
    }));
    assert_eq!(
        case.to("10.0.0.2:80"),
        "waypoint 10.0.0.9:15008 authority 10.0.0.2:80 as way, dial way, of cart"
    );
}
