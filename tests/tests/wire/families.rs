//! IPv6 and both families at once: every path, and services whose families differ from their callers'.

use std::net::{IpAddr, SocketAddr};

use ambit_model::{IpFamilies, NetworkAddress, TunnelProtocol};
use ambit_redirect::Capture;
use ambit_tests::{Mesh, Peer, identity, missing};

use super::{service, workload};

const VIP4: &str = "10.96.0.1:80";
const VIP6: &str = "[fd00:10:96::1]:80";

fn vip(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn every_path_is_the_same_over_ipv6() {
    if missing(&["curl", "python3"]).is_some() {
        return;
    }
    let mesh = Mesh::builder()
        .pod("client", "n1")
        .plain_pod("stranger", "n1")
        .plain_pod("plain", "n2")
        .pod("beside", "n1")
        .pod("server", "n2")
        .service("web", "10.96.0.1", (80, 8080), &["server"])
        .state(|state| {
            let v6 = NetworkAddress::new("", vip(VIP6).ip());
            service(state, "web").vips.push(v6);
        })
        .start()
        .await;
    for pod in ["server", "beside", "plain"] {
        mesh.greeter(pod, 8080, pod);
    }
    for (what, from, to4, to6, by) in [
        ("another node", "client", mesh.at("server", 8080), mesh.at_v6("server", 8080), "server"),
        ("a service", "client", vip(VIP4), vip(VIP6), "server"),
        ("the same node", "client", mesh.at("beside", 8080), mesh.at_v6("beside", 8080), "beside"),
        ("out of the mesh", "client", mesh.at("plain", 8080), mesh.at_v6("plain", 8080), "plain"),
        (
            "into the mesh",
            "stranger",
            mesh.at("server", 8080),
            mesh.at_v6("server", 8080),
            "server",
        ),
        ("to itself", "client", mesh.at("client", 9090), mesh.at_v6("client", 9090), "client"),
    ] {
        if by == "client" {
            mesh.greeter("client", 9090, "client");
        }
        for to in [to4, to6] {
            let own = if to.is_ipv4() { mesh.at(from, 0) } else { mesh.at_v6(from, 0) };
            assert_eq!(mesh.ask(from, to).await, format!("{by} {}", own.ip()), "{what}: {to}");
        }
    }
    let _server = mesh.start("server", &["python3", "-m", "http.server", "8081", "--bind", "::"]);
    mesh.listening("server", 8081).await;
    for ip in mesh.pod("server").ips() {
        let url = format!("http://{}/", SocketAddr::new(*ip, 8081));
        let answer = mesh.run("client", &["curl", "-sS", "-g", "-m", "10", &url]).await.ok();
        assert!(answer.contains("Directory listing"), "{url}: {answer}");
    }
}

#[tokio::test]
async fn the_endpoints_address_is_of_a_family_that_it_and_the_service_have() {
    if missing(&[]).is_some() {
        return;
    }
    let mut builder = Mesh::builder().pod("client", "n1");
    let pods = [("both", 1), ("only4", 2), ("only6", 3), ("prefers4", 4), ("prefers6", 5)];
    for (name, host) in pods {
        builder = builder
            .plain_pod(name, "n2")
            .workload(name, |workload| workload.protocol = TunnelProtocol::Hbone)
            .service(name, &format!("10.96.0.{host}"), (80, 8080), &[name]);
    }
    let mesh = builder
        .state(move |state| {
            for (name, host) in pods {
                let v6 = vip(&format!("[fd00:10:96::{host}]:80")).ip();
                service(state, name).vips.push(NetworkAddress::new("", v6));
            }
            workload(state, "only4").workload_ips.retain(IpAddr::is_ipv4);
            workload(state, "only6").workload_ips.retain(IpAddr::is_ipv6);
            service(state, "prefers4").ip_families = Some(IpFamilies::V4);
            service(state, "prefers6").ip_families = Some(IpFamilies::V6);
        })
        .start()
        .await;
    for (name, host) in pods {
        let peer = Peer::of(&mesh, name).await;
        for to in [format!("10.96.0.{host}:80"), format!("[fd00:10:96::{host}]:80")] {
            let to = vip(&to);
            let as_v4 = match name {
                "both" => to.is_ipv4(),
                other => other.ends_with('4'),
            };
            assert_eq!(mesh.ask("client", to).await, name, "{to}");
            let seen = peer.seen_one();
            let at = |port| if as_v4 { mesh.at(name, port) } else { mesh.at_v6(name, port) };
            let own = if as_v4 { mesh.at("client", 0) } else { mesh.at_v6("client", 0) };
            assert_eq!(seen.destination, at(15008), "{name} for {to}");
            assert_eq!(seen.source.ip(), own.ip(), "{name} for {to}");
            assert_eq!(seen.authority, at(8080).to_string(), "{name} for {to}");
            assert_eq!(seen.client, Some(identity("client")), "{name} for {to}");
        }
    }
}

#[tokio::test]
async fn ipv6_can_be_left_alone() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = Mesh::builder()
        .pod("client", "n1")
        .plain_pod("web", "n2")
        .workload("web", |workload| workload.protocol = TunnelProtocol::Hbone)
        .capture(Capture { ipv6: false, ..Capture::default() })
        .env("IPV6_ENABLED", "false")
        .start()
        .await;
    let web = Peer::of(&mesh, "web").await;
    mesh.greeter("web", 8080, "plainly");
    assert_eq!(mesh.ask("client", mesh.at("web", 8080)).await, "web");
    let own = mesh.at_v6("client", 0).ip();
    assert_eq!(mesh.ask("client", mesh.at_v6("web", 8080)).await, format!("plainly {own}"));
    assert_eq!(web.seen().len(), 1);
}
