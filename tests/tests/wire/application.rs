//! Applications that want to be told of the original connection: the PROXY protocol header and what follows it.

use std::net::{IpAddr, SocketAddr};

use ambit_model::{ApplicationTunnel, ApplicationTunnelProtocol};
use ambit_tests::{Caller, Mesh, identity, missing, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{gateway, service, workload};

/// What an application reads before the bytes.
#[derive(Debug, PartialEq)]
struct Introduction {
    source: SocketAddr,
    destination: SocketAddr,
    identity: String,
}

/// `waypoint` is captured and gets its tunnels introduced on port 15088; `guarded` is behind it.
async fn mesh(variables: &[(&str, &str)]) -> Mesh {
    let builder =
        variables.iter().fold(Mesh::builder(), |mesh, (name, value)| mesh.env(name, value));
    builder
        .pod("client", "n1")
        .plain_pod("caller", "n1")
        .pod("waypoint", "n2")
        .service("waypoint", "10.96.1.1", (15021, 15021), &["waypoint"])
        .service("guarded", "10.96.0.1", (80, 8080), &[])
        .state(|state| {
            let tunnel =
                ApplicationTunnel { protocol: ApplicationTunnelProtocol::Proxy, port: Some(15088) };
            workload(state, "waypoint").application_tunnel = Some(tunnel);
            // The service does not know the port: the application tunnel stands in for it.
            service(state, "guarded").waypoint = Some(gateway("waypoint", 15008));
        })
        .start()
        .await
}

/// The next connection with what introduces it.
async fn introduced(app: &TcpListener) -> (TcpStream, SocketAddr, Introduction) {
    let (mut tcp, peer) = soon(app.accept()).await.unwrap();
    let mut head = [0; 16];
    soon(tcp.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head[..12], b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(head[12], 0x21, "version 2, command PROXY");
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[14], head[15]]))];
    soon(tcp.read_exact(&mut body)).await.unwrap();
    let (addresses, tail) = match head[13] {
        0x11 => body.split_at(12),
        0x21 => body.split_at(36),
        other => panic!("family {other:#x}"),
    };
    let size = (addresses.len() - 4) / 2;
    let ip = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).unwrap()),
    };
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    let source = SocketAddr::new(ip(&addresses[..size]), port(2 * size));
    let destination = SocketAddr::new(ip(&addresses[size..2 * size]), port(2 * size + 2));
    assert_eq!(tail[0], 0xd0);
    assert_eq!(usize::from(u16::from_be_bytes([tail[1], tail[2]])), tail.len() - 3);
    let identity = String::from_utf8(tail[3..].to_vec()).unwrap();
    (tcp, ambit_net::canonical(peer), Introduction { source, destination, identity })
}

/// A caller's connection to the waypoint's tunnel at `to`, and its own address.
async fn call(mesh: &Mesh, to: SocketAddr) -> (Caller, SocketAddr) {
    let credential = mesh.credential(&identity("caller")).await;
    let config = ambit_tls::client_config(&credential, &[identity("waypoint")]);
    let tls = mesh.dial_tls("caller", to, (*config).clone()).await.unwrap();
    let own = tls.get_ref().0.local_addr().unwrap();
    (Caller::over(tls).await.unwrap(), own)
}

#[tokio::test]
async fn the_application_learns_source_destination_and_identity() {
    if missing(&[]).is_some() {
        return;
    }
    for (localhost, over_loopback) in [("true", true), ("false", false)] {
        let mesh = mesh(&[("LOCALHOST_APP_TUNNEL", localhost)]).await;
        let app = mesh.listen("waypoint", 15088);
        let v4 = mesh.at("waypoint", 15008);
        let v6 = mesh.at_v6("waypoint", 15008);
        for (what, to, authority, destination) in [
            ("a service's address", v4, "10.96.0.1:80", "10.96.0.1:80"),
            ("a pod's address", v4, "10.244.7.7:9090", "10.244.7.7:9090"),
            ("a service's name", v4, "guarded.default.svc.cluster.local:80", "10.96.0.1:80"),
            ("IPv6", v6, "[fd00:10:96::1]:80", "[fd00:10:96::1]:80"),
        ] {
            let (mut caller, source) = call(&mesh, to).await;
            let (mut tunnel, (mut tcp, peer, introduction)) =
                tokio::join!(caller.tunnel(authority), introduced(&app));
            let expected = Introduction {
                source,
                destination: destination.parse().unwrap(),
                identity: identity("caller").to_string(),
            };
            assert_eq!(introduction, expected, "{what}");
            assert_eq!(peer.ip().is_loopback(), over_loopback, "{what}");
            let reached = ambit_net::canonical(tcp.local_addr().unwrap());
            assert_eq!(reached.ip().is_loopback(), over_loopback, "{what}");
            tunnel.write(b"word");
            let mut word = [0; 4];
            soon(tcp.read_exact(&mut word)).await.unwrap();
            assert_eq!(&word, b"word", "{what}");
            tcp.write_all(b"answer\n").await.unwrap();
            assert_eq!(tunnel.line().await.unwrap(), "answer", "{what}");
        }
    }
}

#[tokio::test]
async fn a_real_client_is_introduced_by_its_own_address() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh(&[]).await;
    let app = mesh.listen("waypoint", 15088);
    let vip: SocketAddr = "10.96.0.1:80".parse().unwrap();
    let (client, (mut tcp, _, introduction)) =
        tokio::join!(mesh.dial("client", vip), introduced(&app));
    let mut client = client.unwrap();
    assert_eq!(introduction.source.ip(), mesh.at("client", 0).ip());
    assert_eq!(introduction.destination, vip);
    assert_eq!(introduction.identity, identity("client").to_string());
    tcp.write_all(b"hello").await.unwrap();
    let mut hello = [0; 5];
    soon(client.read_exact(&mut hello)).await.unwrap();
    assert_eq!(&hello, b"hello");
}

#[tokio::test]
async fn a_tunnel_without_protocol_only_changes_the_port() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mut mesh = mesh(&[]).await;
    mesh.greeter("waypoint", 15088, "plainly");
    mesh.update(|state| {
        let tunnel =
            ApplicationTunnel { protocol: ApplicationTunnelProtocol::None, port: Some(15088) };
        workload(state, "waypoint").application_tunnel = Some(tunnel);
    })
    .await;
    let (mut caller, source) = call(&mesh, mesh.at("waypoint", 15008)).await;
    let greeting = format!("plainly {}", source.ip());
    let mut tunnel = caller.tunnel("10.96.0.1:80").await;
    assert_eq!(tunnel.line().await.unwrap(), greeting);
}
