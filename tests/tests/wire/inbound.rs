//! CONNECT requests to a real tunnel: every way to be accepted or refused, and what a tunnel carries.

use ambit_tests::{Answer, Caller, Mesh, connect_request, eventually, identity, missing, soon};
use http::Request;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{gateway, service};

/// A pod outside the mesh in which the calling proxy is played, and a captured server.
async fn mesh() -> Mesh {
    let deny = json!({
        "name": "nobody-9090", "namespace": "default", "scope": "Namespace", "action": "Deny",
        "rules": [[[{"destinationPorts": [9090]}]]],
    });
    Mesh::builder()
        .plain_pod("caller", "n1")
        .pod("server", "n2")
        .service("web", "10.96.0.1", (80, 8080), &["server"])
        .service("guarded", "10.96.0.2", (80, 8080), &[])
        .policy(deny)
        .state(|state| service(state, "guarded").waypoint = Some(gateway("web", 15008)))
        .env("CONNECTION_TERMINATION_DEADLINE", "5s")
        .start()
        .await
}

/// The caller's connection to the server's tunnel.
async fn call(mesh: &Mesh) -> Caller {
    let credential = mesh.credential(&identity("caller")).await;
    mesh.caller("caller", &credential, mesh.at("server", 15008), &identity("server")).await
}

const BAGGAGE: &str = "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=server,service.name=server";

#[tokio::test]
async fn every_request_has_its_answer() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mut mesh = mesh().await;
    for port in [8080, 9090] {
        mesh.greeter("server", port, "server for");
    }
    let ip = mesh.ip("server");
    let host = "web.default.svc.cluster.local";
    let mut caller = call(&mesh).await;
    for (what, authority, expected) in [
        ("the pod's own address", format!("{ip}:8080"), "200"),
        ("the same, written as IPv6", format!("[::ffff:{ip}]:8080"), "200"),
        ("a service's name", format!("{host}:80"), "200"),
        ("an address that the pod is the waypoint of", "10.96.0.2:8080".into(), "200"),
        ("no port", ip.clone(), "400"),
        ("a name without a port", host.into(), "400"),
        ("with user information", format!("user@{ip}:8080"), "400"),
        ("a port that is none", format!("{ip}:80800"), "400"),
        ("another pod's address", format!("{}:8080", mesh.ip("caller")), "400"),
        ("an unknown address", "10.9.9.9:8080".into(), "400"),
        ("the address of its service", "10.96.0.1:80".into(), "400"),
        ("the node's address", format!("{}:22", mesh.node("n2").ip()), "400"),
        ("loopback", "127.0.0.1:8080".into(), "400"),
        ("loopback of IPv6", "[::1]:8080".into(), "400"),
        ("loopback, written as IPv6", "[::ffff:127.0.0.1]:8080".into(), "400"),
        ("every address", "0.0.0.0:8080".into(), "400"),
        ("what clouds tell their machines", "169.254.169.254:80".into(), "400"),
        ("where the kubelet's probes come from", "169.254.7.127:80".into(), "400"),
        ("everybody", "255.255.255.255:8080".into(), "400"),
        ("loopback by name", "localhost:8080".into(), "503"),
        ("the DNS proxy", format!("{ip}:15053"), "503"),
        ("what policy denies", format!("{ip}:9090"), "401"),
        ("an unknown name", "nobody.default.svc.cluster.local:80".into(), "503"),
        ("a port the service has not", format!("{host}:8080"), "503"),
        ("the tunnel itself", format!("{ip}:15008"), "503"),
        ("the plaintext capture", format!("{ip}:15006"), "503"),
        ("the outbound capture", format!("{ip}:15001"), "503"),
        ("nobody listens", format!("{ip}:8081"), "503"),
    ] {
        match caller.connect(&authority).await {
            Answer::Open(mut tunnel) => {
                assert_eq!(expected, "200", "{what}");
                assert_eq!(tunnel.headers["baggage"], BAGGAGE, "{what}");
                // The application sees the client's own address.
                let greeting = format!("server for {}", mesh.ip("caller"));
                assert_eq!(tunnel.line().await.unwrap(), greeting, "{what}");
                tunnel.write(b"ping\n");
                assert_eq!(tunnel.line().await.unwrap(), "ping", "{what}");
            }
            other => {
                assert_eq!(other.in_a_word(), expected, "{what}");
                assert!(
                    matches!(&other, Answer::Status(_, headers) if headers.is_empty()),
                    "{other:?}"
                );
            }
        }
    }
    for method in ["GET", "POST"] {
        let uri = format!("http://{ip}:8080/");
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        assert_eq!(caller.request(request).await.in_a_word(), "400", "{method}");
    }
    for (reason, expected) in [
        ("bad_authority", 4),
        ("address_mismatch", 11),
        ("denied", 1),
        ("unknown_hostname", 2),
        ("unknown_port", 1),
        ("self_call", 3),
        ("refused", 2),
        ("not_connect", 2),
    ] {
        let metrics = mesh.metrics("n2").await;
        let counted =
            format!("ambit_connections_refused_total{{reason=\"{reason}\"}} {expected}\n");
        assert!(metrics.contains(&counted), "{counted} in {metrics}");
    }
    mesh.update(|state| state.workloads.retain(|workload| &*workload.name != "server")).await;
    let answer = caller.connect(&format!("{ip}:8080")).await;
    assert_eq!(answer.in_a_word(), "503", "the pod's workload is not known any more");
}

#[tokio::test]
async fn what_a_caller_says_of_itself_counts_where_its_address_says_nothing() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = mesh().await;
    mesh.greeter("server", 8080, "server for");
    let authority = mesh.at("server", 8080).to_string();
    let mut caller = call(&mesh).await;
    for (what, network, forwarded, workload, service) in [
        ("by its address", None, None, "caller", "web.default.svc.cluster.local"),
        ("of another network", Some("far"), None, "distant", "web.default.svc.cluster.local"),
        (
            "to a service",
            Some("far"),
            Some("for=x;host=unknown.example"),
            "distant",
            "web.default.svc.cluster.local",
        ),
    ] {
        let mut request = connect_request(&authority);
        let baggage = "k8s.cluster.name=c2,k8s.namespace.name=shop,k8s.job.name=distant";
        request.headers_mut().insert("baggage", baggage.parse().unwrap());
        for (name, value) in [("x-forwarded-network", network), ("forwarded", forwarded)] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        caller.request(request).await.open().line().await.unwrap();
        eventually(|| async {
            let metrics = mesh.metrics("n2").await;
            let told = metrics.lines().any(|line| {
                line.starts_with("istio_tcp_connections_opened_total")
                    && line.contains(&format!(r#"source_workload="{workload}""#))
                    && line.contains(&format!(r#"destination_service="{service}""#))
            });
            if told { Ok(()) } else { Err(format!("{what}: {metrics}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn response_baggage_can_be_turned_off() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = Mesh::builder()
        .plain_pod("caller", "n1")
        .pod("server", "n2")
        .env("ENABLE_RESPONSE_BAGGAGE", "false")
        .start()
        .await;
    mesh.greeter("server", 8080, "server for");
    let tunnel = call(&mesh).await.tunnel(&mesh.at("server", 8080).to_string()).await;
    assert!(tunnel.headers.is_empty(), "{:?}", tunnel.headers);
}

#[tokio::test]
async fn a_tunnel_carries_every_kind_of_beginning_and_end() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh().await;
    let app = mesh.listen("server", 8080);
    let authority = mesh.at("server", 8080).to_string();
    let mut caller = call(&mesh).await;

    // Bytes before the answer.
    let (response, mut send) = caller.begin(connect_request(&authority)).await.unwrap();
    send.send_data("early".into(), false).unwrap();
    let mut tunnel = Answer::of(response, send).await.open();
    let (mut tcp, _) = soon(app.accept()).await.unwrap();
    let mut early = [0; 5];
    soon(tcp.read_exact(&mut early)).await.unwrap();
    assert_eq!(&early, b"early");

    // The client ends first; the application still has much to say.
    tunnel.finish();
    assert_eq!(soon(tcp.read(&mut early)).await.unwrap(), 0, "the half-close arrives");
    let answer = vec![b'x'; 1 << 20];
    let send = async {
        tcp.write_all(&answer).await.unwrap();
        tcp.shutdown().await.unwrap();
    };
    let ((), received) = tokio::join!(send, tunnel.rest());
    assert!(received.unwrap() == answer);

    // The application ends first.
    let mut tunnel = caller.tunnel(&authority).await;
    let (mut tcp, _) = soon(app.accept()).await.unwrap();
    tcp.shutdown().await.unwrap();
    assert_eq!(tunnel.rest().await.unwrap(), b"");
    tunnel.write(b"late");
    tunnel.finish();
    let mut late = String::new();
    soon(tcp.read_to_string(&mut late)).await.unwrap();
    assert_eq!(late, "late");

    // The client resets.
    let mut tunnel = caller.tunnel(&authority).await;
    let (mut tcp, _) = soon(app.accept()).await.unwrap();
    tunnel.reset();
    let error = soon(tcp.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    // The application resets.
    let mut tunnel = caller.tunnel(&authority).await;
    let (tcp, _) = soon(app.accept()).await.unwrap();
    ambit_net::reset(tcp);
    assert!(tunnel.rest().await.unwrap_err().is_reset());

    // Long headers.
    let mut request = connect_request(&authority);
    for name in ["x-long", "x-longer"] {
        request.headers_mut().insert(name, "v".repeat(10 << 10).parse().unwrap());
    }
    assert_eq!(caller.request(request).await.in_a_word(), "200");
}

#[tokio::test]
async fn a_drained_tunnel_says_goaway_and_lets_streams_finish() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = mesh().await;
    mesh.greeter("server", 8080, "server for");
    let authority = mesh.at("server", 8080).to_string();
    let mut caller = call(&mesh).await;
    let mut tunnel = caller.tunnel(&authority).await;
    let mut stubborn = caller.tunnel(&authority).await;
    tunnel.line().await.unwrap();
    stubborn.line().await.unwrap();
    mesh.on_node("n2", &["kill", "-TERM", &mesh.pid("n2").to_string()]).await.ok();
    let refused = async { while matches!(caller.connect(&authority).await, Answer::Open(_)) {} };
    soon(refused).await;
    eventually(|| async {
        match mesh.dial("caller", mesh.at("server", 15008)).await {
            Ok(_) => Err("the tunnel still takes connections".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
    tunnel.write(b"still there\n");
    assert_eq!(tunnel.line().await.unwrap(), "still there");
    tunnel.finish();
    assert_eq!(tunnel.rest().await.unwrap(), b"");
    // A stream that does not end is broken off at the deadline, and so is the connection.
    stubborn.rest().await.unwrap_err();
    drop((tunnel, stubborn));
    caller.ended().await.unwrap();
}
