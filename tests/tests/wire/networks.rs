//! Another network behind an east-west gateway: a tunnel in a tunnel, from a real client to real and played servers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ambit_hbone::{Config, Connect};
use ambit_model::{GatewayAddress, GatewayDestination, LocalState, NetworkAddress, TunnelProtocol};
use ambit_net::ConnectOptions;
use ambit_tests::{Mesh, Peer, eventually, identity, missing};
use serde_json::json;

use super::{gateway, service, workload};

/// The services of the other network, each served by the pod of its name, and their addresses here.
const SERVICES: [(&str, u8); 5] =
    [("server", 1), ("remote", 2), ("impostor", 3), ("nameless", 4), ("astray", 5)];

/// `client` on network `near`; everything else on `far`, behind `gw`. `server` has a real tunnel there, and takes the
/// client alone; `remote` and `impostor` are played.
async fn mesh() -> Mesh {
    let allow = json!({
        "name": "client", "namespace": "default", "scope": "WorkloadSelector", "action": "Allow",
        "rules": [[[{"principals": [{"Exact": "cluster.local/ns/default/sa/client"}]}]]],
    });
    let mut builder = Mesh::builder().pod("client", "n1").pod("server", "n2").policy(allow);
    for name in ["gw", "false-gw", "remote", "impostor", "nameless", "astray"] {
        let hbone =
            |workload: &mut ambit_model::Workload| workload.protocol = TunnelProtocol::Hbone;
        builder = builder.plain_pod(name, "n2").workload(name, hbone);
    }
    for (name, host) in SERVICES {
        builder = builder.service(name, &format!("10.96.0.{host}"), (80, 8080), &[name]);
    }
    builder
        .service("gw", "10.96.1.1", (15443, 15008), &["gw"])
        .service("wp", "10.96.1.2", (15008, 15008), &["remote"])
        .service("guarded", "10.96.0.9", (80, 8080), &[])
        .state(arrange)
        .env("NETWORK", "near")
        .start()
        .await
}

fn arrange(state: &mut LocalState) {
    for workload in &mut state.workloads {
        workload.network = if &*workload.name == "client" { "near" } else { "far" }.into();
    }
    for service in &mut state.services {
        service.vips[0].network = "near".into();
    }
    let at = |state: &mut LocalState, name| GatewayAddress {
        destination: GatewayDestination::Address(NetworkAddress::new(
            "far",
            workload(state, name).workload_ips[0],
        )),
        hbone_mtls_port: 15008,
    };
    let (gw, false_gw) = (at(state, "gw"), at(state, "false-gw"));
    for (name, _) in SERVICES {
        workload(state, name).network_gateway = Some(gw.clone());
        service(state, name).subject_alt_names = vec![identity(name).to_string().into()];
    }
    // The other way to name a gateway.
    workload(state, "remote").network_gateway = Some(gateway("gw", 15443));
    workload(state, "astray").network_gateway = Some(false_gw);
    service(state, "impostor").subject_alt_names = vec![identity("somebody").to_string().into()];
    service(state, "nameless").subject_alt_names.clear();
    workload(state, "server").authorization_policies = vec!["default/client".into()];
    service(state, "wp").subject_alt_names = vec![identity("remote").to_string().into()];
    service(state, "guarded").waypoint = Some(gateway("wp", 15008));
}

/// The gateway: ends the outer tunnel and carries what is in it to the tunnel port of the pod that serves the name.
async fn play_gateway(mesh: &Mesh, pod: &str, account: &str) -> Peer {
    let credential = mesh.credential(&identity(account)).await;
    let names = SERVICES.map(|(name, _)| (name, name)).into_iter().chain([("guarded", "remote")]);
    let servers: BTreeMap<&str, SocketAddr> =
        names.map(|(service, pod)| (service, mesh.at(pod, 15008))).collect();
    let netns = mesh.pod(pod).room().netns().clone();
    Peer::start(mesh, pod, credential, Config::default(), move |connect: Connect| {
        let authority = connect.authority().unwrap().to_string();
        let server = servers[authority.split('.').next().unwrap()];
        let netns = netns.clone();
        async move {
            let options = ConnectOptions { netns: Some(&netns), ..ConnectOptions::default() };
            let mut tcp = ambit_net::connect(server, &options).await.unwrap();
            let mut outer = connect.accept(None).unwrap().into_io();
            // Each end is the other side's business.
            let _ = tokio::io::copy_bidirectional(&mut outer, &mut tcp).await;
        }
    })
}

fn vip(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 96, 0, host], 80))
}

#[tokio::test]
async fn services_of_another_network_are_reached_through_its_gateway() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh().await;
    let gw = play_gateway(&mesh, "gw", "gw").await;
    let remote = Peer::of(&mesh, "remote").await;
    mesh.greeter("server", 8080, "server for");
    let greeted = format!("server for {}", mesh.ip("gw"));
    for (what, to, greeting, host) in [
        ("a real tunnel there", vip(1), greeted.as_str(), "server"),
        ("a gateway that is named", vip(2), "remote", "remote"),
        ("a waypoint there", vip(9), "remote", "guarded"),
    ] {
        assert_eq!(mesh.ask("client", to).await, greeting, "{what}");
        let authority = format!("{host}.default.svc.cluster.local:80");
        let outer = gw.seen_one();
        assert_eq!(outer.destination, mesh.at("gw", 15008), "{what}");
        assert_eq!(outer.client, Some(identity("client")), "{what}");
        assert_eq!(outer.authority, authority, "{what}");
        assert_eq!(outer.header("x-forwarded-network"), "", "{what}");
        if greeting == "remote" {
            let inner = remote.seen_one();
            assert_eq!(inner.source.ip(), mesh.at("gw", 0).ip(), "{what}");
            assert_eq!(inner.client, Some(identity("client")), "{what}");
            assert_eq!(inner.authority, authority, "{what}");
            assert_eq!(inner.header("x-forwarded-network"), "near", "{what}");
            assert_eq!(outer.header("traceparent"), inner.header("traceparent"), "{what}");
        }
    }
    // What the far side says of itself is what this side knows of it.
    eventually(|| async {
        let log = mesh.log("n1");
        let told = |line: &str| {
            line.contains(r#"dst.workload="server""#)
                && line.contains(r#"dst.identity="spiffe://cluster.local/ns/default/sa/server""#)
        };
        if log.lines().any(told) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn outer_connections_are_shared_and_inner_ones_are_not() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh().await;
    let gw = play_gateway(&mesh, "gw", "gw").await;
    let remote = Peer::of(&mesh, "remote").await;
    for _ in 0..8 {
        assert_eq!(mesh.ask("client", vip(2)).await, "remote");
    }
    assert!(gw.connections() <= 2, "{} connections for two workers", gw.connections());
    assert_eq!(remote.connections(), 8);
}

#[tokio::test]
async fn both_ends_of_both_tunnels_must_be_who_they_should_be() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh().await;
    let gw = play_gateway(&mesh, "gw", "gw").await;
    let false_gw = play_gateway(&mesh, "false-gw", "gw").await;
    let impostor = Peer::of(&mesh, "impostor").await;
    for (what, to) in [
        ("the far end is somebody else", vip(3)),
        ("the service names no identity", vip(4)),
        ("the gateway is somebody else", vip(5)),
    ] {
        assert_eq!(mesh.ask("client", to).await, "reset", "{what}");
    }
    assert!(impostor.seen().is_empty());
    assert!(false_gw.seen().is_empty());
    let outer = gw.seen_one();
    assert_eq!(outer.authority, "impostor.default.svc.cluster.local:80");
}
