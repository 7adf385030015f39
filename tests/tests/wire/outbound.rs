//! Connections of captured programs: where a real tunnel takes them, as whom, and what it tells its peer.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ambit_hbone::Refusal;
use ambit_model::{
    GatewayAddress, GatewayDestination, HealthStatus, LoadBalancer, LoadBalancerMode, LocalState,
    NetworkAddress, TunnelProtocol, WeightedWaypoint,
};
use ambit_sandbox::FABRIC_V4;
use ambit_tests::{Mesh, Peer, eventually, greet, identity, missing, soon};
use tokio::io::{AsyncReadExt, BufReader};

use super::{gateway, service, workload};

/// Pods in which proxies are played.
const PLAYED: [&str; 8] = ["web", "behind", "behind2", "wp", "canary", "open", "liar", "refuser"];

/// Everything of table 2.4 on one network.
async fn mesh() -> Mesh {
    let mut builder = Mesh::builder().pod("client", "n1").pod("waypoint-client", "n1");
    for name in PLAYED.into_iter().chain(["plain", "dead", "denier", "sick", "named"]) {
        builder = builder.plain_pod(name, "n2").workload(name, |workload| {
            if !["plain", "named"].contains(&name) {
                workload.protocol = TunnelProtocol::Hbone;
            }
        });
    }
    builder
        .service("web", "10.96.0.1", (80, 8080), &["web"])
        .service("named-port", "10.96.0.2", (80, 8081), &["web"])
        .service("plain", "10.96.0.3", (80, 8080), &["plain"])
        .service("guarded", "10.96.0.4", (80, 8080), &["web"])
        .service("guarded-by-address", "10.96.0.5", (80, 8080), &["web"])
        .service("of-guarded-pod", "10.96.0.6", (80, 8080), &["behind"])
        .service("split", "10.96.0.7", (80, 8080), &["web"])
        .service("empty", "10.96.0.8", (80, 8080), &[])
        .service("open", "10.96.0.9", (80, 8080), &[])
        .service("liars", "10.96.0.11", (80, 8080), &["liar"])
        .service("with-dead", "10.96.0.12", (80, 8080), &["dead", "web"])
        .service("with-refuser", "10.96.0.13", (80, 8080), &["refuser", "web"])
        .service("with-liar", "10.96.0.14", (80, 8080), &["liar", "web"])
        .service("with-sick", "10.96.0.15", (80, 8080), &["sick", "web"])
        .service("all-dead", "10.96.0.16", (80, 8080), &["dead"])
        .service("denied", "10.96.0.17", (80, 8080), &["denier"])
        .service("named", "10.96.0.18", (80, 9090), &["named"])
        .service("with-dead-beside", "10.96.0.19", (80, 8080), &["waypoint-client", "web"])
        .service("wp", "10.96.1.1", (15443, 15008), &["wp"])
        .service("canary", "10.96.1.2", (15008, 15008), &["canary"])
        .service("wp2", "10.96.1.3", (15008, 15008), &["waypoint-client"])
        .state(arrange)
        .start()
        .await
}

fn arrange(state: &mut LocalState) {
    // As with named ports: only the endpoint knows its own.
    service(state, "named-port").ports.insert(80, 0);
    service(state, "guarded").waypoint = Some(gateway("wp", 15443));
    let vip = NetworkAddress::new("", [10, 96, 1, 1].into());
    service(state, "guarded-by-address").waypoint = Some(GatewayAddress {
        destination: GatewayDestination::Address(vip),
        hbone_mtls_port: 15443,
    });
    let weighted =
        |name: &str, port, weight| WeightedWaypoint { destination: gateway(name, port), weight };
    let split = service(state, "split");
    split.waypoint = Some(gateway("wp", 15443));
    split.weighted_waypoints = vec![weighted("wp", 15443, 0), weighted("canary", 15008, 100)];
    workload(state, "behind").waypoint = Some(gateway("wp", 15443));
    workload(state, "behind2").waypoint = Some(gateway("wp2", 15008));
    workload(state, "sick").status = HealthStatus::Unhealthy;
    // The one name that every resolver knows; it leads to the client's own loopback.
    let named = workload(state, "named");
    named.workload_ips.clear();
    named.hostname = "localhost".into();
    let open = workload(state, "open").workload_ips[0];
    let passthrough = service(state, "open");
    passthrough.vips = vec![NetworkAddress::new("", open)];
    passthrough.load_balancer = Some(LoadBalancer {
        routing_preferences: vec![],
        mode: LoadBalancerMode::Passthrough,
        health_policy: Default::default(),
    });
}

async fn play(mesh: &Mesh) -> BTreeMap<&'static str, Peer> {
    let mut peers = BTreeMap::new();
    for name in PLAYED {
        let peer = match name {
            "refuser" => Peer::refusing(mesh, name, Refusal::Unavailable).await,
            "liar" => {
                let credential = mesh.credential(&identity("somebody")).await;
                Peer::start(mesh, name, credential, Default::default(), |_| async {})
            }
            name => Peer::of(mesh, name).await,
        };
        peers.insert(name, peer);
    }
    peers.insert("denier", Peer::refusing(mesh, "denier", Refusal::Denied).await);
    peers
}

fn vip(last: [u8; 2], port: u16) -> SocketAddr {
    SocketAddr::from(([10, 96, last[0], last[1]], port))
}

#[tokio::test]
async fn every_destination_has_its_way() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh().await;
    let peers = play(&mesh).await;
    let at = |pod, port| mesh.at(pod, port);
    for (what, from, to, through, authority) in [
        ("a pod", "client", at("web", 8080), "web", at("web", 8080)),
        ("a service", "client", vip([0, 1], 80), "web", at("web", 8080)),
        ("a service with named ports", "client", vip([0, 2], 80), "web", at("web", 8081)),
        ("a service with a waypoint", "client", vip([0, 4], 80), "wp", vip([0, 4], 80)),
        ("the same, named by address", "client", vip([0, 5], 80), "wp", vip([0, 5], 80)),
        ("a pod with a waypoint", "client", at("behind", 8080), "wp", at("behind", 8080)),
        ("as a service without one", "client", vip([0, 6], 80), "behind", at("behind", 8080)),
        ("weights", "client", vip([0, 7], 80), "canary", vip([0, 7], 80)),
        (
            "its own waypoint",
            "waypoint-client",
            at("behind2", 8080),
            "behind2",
            at("behind2", 8080),
        ),
    ] {
        assert_eq!(mesh.ask(from, to).await, through, "{what}");
        let seen = peers[through].seen_one();
        assert_eq!(seen.destination, at(through, 15008), "{what}");
        assert_eq!(seen.source.ip(), at(from, 0).ip(), "{what}");
        assert_eq!(seen.client, Some(identity(from)), "{what}");
        assert_eq!(seen.authority, authority.to_string(), "{what}");
    }
    let plainly = |name: &str| format!("{name} for {}", mesh.ip("client"));
    mesh.greeter("plain", 8080, "plain for");
    mesh.greeter("open", 8080, "open for");
    mesh.greeter("client", 9090, "localhost for");
    for (what, to, greeting) in [
        ("a pod outside the mesh", at("plain", 8080), plainly("plain")),
        ("the same as a service", vip([0, 3], 80), plainly("plain")),
        ("a PASSTHROUGH service", at("open", 8080), plainly("open")),
        ("an endpoint that has only a name", vip([0, 18], 80), "localhost for 127.0.0.1".into()),
        ("an address that the mesh does not know", outside(&mesh), "outside".into()),
    ] {
        assert_eq!(mesh.ask("client", to).await, greeting, "{what}");
    }
    assert_eq!(peers["open"].connections(), 0);
    let metrics = mesh.metrics("n1").await;
    let looked_up = metrics.lines().find(|line| line.starts_with("istio_on_demand_dns_total"));
    let looked_up = looked_up.expect("the look-up is counted");
    assert!(looked_up.contains(r#"source_workload_namespace="default""#), "{looked_up}");
    assert!(looked_up.ends_with(r#"hostname="localhost"} 1"#), "{looked_up}");
}

/// A program on the fabric, which is no workload.
fn outside(mesh: &Mesh) -> SocketAddr {
    let netns = mesh.topology().fabric().netns();
    let any = SocketAddr::from((FABRIC_V4, 0));
    let listener = netns.enter(|| ambit_net::listen(any, &Default::default())).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.into_tokio().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(greet(tcp, "outside"));
        }
    });
    address
}

#[tokio::test]
async fn only_what_the_mesh_knows_is_dialled_where_that_is_wanted() {
    if missing(&[]).is_some() {
        return;
    }
    let builder = Mesh::builder().pod("client", "n1").plain_pod("plain", "n1");
    let mesh = builder.env("OUTBOUND_TRAFFIC_POLICY", "REGISTRY_ONLY").start().await;
    mesh.greeter("plain", 8080, "plain for");
    let known = mesh.ask("client", mesh.at("plain", 8080)).await;
    assert_eq!(known, format!("plain for {}", mesh.ip("client")));
    assert_eq!(mesh.ask("client", outside(&mesh)).await, "reset");
    eventually(|| async {
        let log = mesh.log("n1");
        if log.contains("a ServiceEntry makes it known") { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn what_leads_nowhere_is_reset() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh().await;
    let peers = play(&mesh).await;
    let own = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port);
    for (what, to) in [
        ("a service without endpoints", vip([0, 8], 80)),
        ("a port the service has not", vip([0, 1], 81)),
        ("a service whose endpoints refuse", vip([0, 16], 80)),
        ("a pod that refuses", mesh.at("dead", 8080)),
        ("a proxy with another identity", vip([0, 11], 80)),
        ("a proxy that denies", vip([0, 17], 80)),
        ("a proxy that cannot reach the application", mesh.at("refuser", 8080)),
        ("a pod of the same node that refuses", mesh.at("waypoint-client", 8080)),
        ("the tunnel's own port on loopback", own("127.0.0.1", 15001)),
        ("the same on IPv6", own("::1", 15001)),
        ("the tunnel's own port on the pod's address", mesh.at("client", 15001)),
        ("that of a pod beside", mesh.at("waypoint-client", 15001)),
        ("the plaintext port of a pod beside", mesh.at("waypoint-client", 15006)),
    ] {
        assert_eq!(mesh.ask("client", to).await, "reset", "{what}");
    }
    let circles = mesh.log("n1").lines().filter(|line| line.contains(":15001")).count();
    assert!(circles < 12, "{circles} lines about port 15001 for four connections");
    // The plaintext side has no original destination but itself; the tunnel's port speaks TLS alone.
    for (what, to) in [
        ("the plaintext port on loopback", own("127.0.0.1", 15006)),
        ("the HBONE port on loopback", own("127.0.0.1", 15008)),
    ] {
        assert!(["reset", "closed"].contains(&mesh.ask("client", to).await.as_str()), "{what}");
    }
    let liar = &peers["liar"];
    assert!(liar.seen().is_empty());
    assert_eq!(liar.failed().len(), 1);
    assert_eq!(peers["denier"].seen().len(), 1, "a denial is final");
}

#[tokio::test]
async fn an_endpoint_that_fails_is_replaced_by_another() {
    if missing(&["nft"]).is_some() {
        return;
    }
    let mesh = mesh().await;
    let _peers = play(&mesh).await;
    for (what, to) in [
        ("nobody listens", vip([0, 12], 80)),
        ("the proxy cannot reach the application", vip([0, 13], 80)),
        ("the proxy has another identity", vip([0, 14], 80)),
        ("the endpoint is not healthy", vip([0, 15], 80)),
        ("nobody listens in the pod beside", vip([0, 19], 80)),
    ] {
        // Which endpoint is tried first is left to chance.
        for _ in 0..8 {
            assert_eq!(mesh.ask("client", to).await, "web", "{what}");
        }
    }
    // Nothing answers at all.
    let drop =
        "add table inet t; add chain inet t i { type filter hook input priority 0; policy drop; }";
    mesh.run("dead", &["nft", drop]).await.ok();
    for answer in
        futures_util::future::join_all((0..8).map(|_| mesh.ask("client", vip([0, 12], 80)))).await
    {
        assert_eq!(answer, "web", "silence");
    }
}

#[tokio::test]
async fn weights_share_out_connections() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = Mesh::builder()
        .pod("client", "n1")
        .plain_pod("red", "n2")
        .plain_pod("blue", "n2")
        .service("red", "10.96.1.1", (15008, 15008), &["red"])
        .service("blue", "10.96.1.2", (15008, 15008), &["blue"])
        .service("split", "10.96.0.1", (80, 8080), &[])
        .state(|state| {
            let half = |name| WeightedWaypoint { destination: gateway(name, 15008), weight: 50 };
            service(state, "split").weighted_waypoints = vec![half("red"), half("blue")];
        })
        .start()
        .await;
    let red = Peer::of(&mesh, "red").await;
    let blue = Peer::of(&mesh, "blue").await;
    for _ in 0..40 {
        mesh.ask("client", vip([0, 1], 80)).await;
    }
    let (red, blue) = (red.seen().len(), blue.seen().len());
    assert_eq!(red + blue, 40);
    // One run in ten million has fewer than 4 on one side.
    assert!(red >= 4 && blue >= 4, "{red} and {blue} of 40");
}

#[tokio::test]
async fn a_peer_is_told_of_source_service_and_trace() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = Mesh::builder()
        .pod("client", "n1")
        .workload("client", |workload| {
            workload.canonical_revision = "v2".into();
            workload.locality.region = "north".into();
            workload.locality.zone = "n-1".into();
        })
        .plain_pod("web", "n2")
        .workload("web", |workload| workload.protocol = TunnelProtocol::Hbone)
        .service("web", "10.96.0.1", (80, 8080), &["web"])
        .start()
        .await;
    let web = Peer::of(&mesh, "web").await;
    let mut traces = Vec::new();
    for (to, host) in
        [(mesh.at("web", 8080), ""), (vip([0, 1], 80), ";host=web.default.svc.cluster.local")]
    {
        let tcp = mesh.dial("client", to).await.unwrap();
        let source = tcp.local_addr().unwrap();
        let mut banner = [0; 4];
        soon(BufReader::new(tcp).read_exact(&mut banner)).await.unwrap();
        let seen = web.seen_one();
        let baggage = "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=client,service.name=client,service.version=v2,cloud.region=north,cloud.availability_zone=n-1";
        assert_eq!(seen.header("baggage"), baggage);
        assert_eq!(seen.header("forwarded"), format!("for=\"{source}\"{host}"));
        assert_eq!(seen.headers.len(), 3, "{:?}", seen.headers);
        let trace = seen.header("traceparent").to_owned();
        let parts: Vec<&str> = trace.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [2, 32, 16, 2], "{trace}");
        assert!((parts[0], parts[3]) == ("00", "00"), "{trace}");
        assert!(parts.concat().bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)));
        traces.push(trace);
    }
    assert_ne!(traces[0], traces[1]);
}
