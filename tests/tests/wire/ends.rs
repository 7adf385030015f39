//! How connections end, on every way through a real tunnel: half-closes and resets arrive as what they are.

use std::io::ErrorKind;
use std::net::SocketAddr;

use ambit_tests::{Mesh, missing, soon};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Both ends of an open connection that has carried a byte each way.
async fn connected(mesh: &Mesh, from: &str, to: SocketAddr, app: &TcpListener) -> [TcpStream; 2] {
    let open = async {
        let mut client = mesh.dial(from, to).await.unwrap();
        client.write_u8(1).await.unwrap();
        client
    };
    let (mut client, accepted) = tokio::join!(open, soon(app.accept()));
    let mut server = accepted.unwrap().0;
    assert_eq!(soon(server.read_u8()).await.unwrap(), 1);
    server.write_u8(2).await.unwrap();
    assert_eq!(soon(client.read_u8()).await.unwrap(), 2);
    [client, server]
}

/// One end closes its half, then the other speaks and closes too.
async fn half_close([mut first, mut last]: [TcpStream; 2]) {
    first.write_all(b"last words").await.unwrap();
    first.shutdown().await.unwrap();
    let mut words = String::new();
    soon(last.read_to_string(&mut words)).await.unwrap();
    assert_eq!(words, "last words");
    let answer = vec![7; 300_000];
    let send = async {
        last.write_all(&answer).await.unwrap();
        last.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let ((), read) = tokio::join!(send, soon(first.read_to_end(&mut received)));
    read.unwrap();
    assert!(received == answer);
}

async fn reset([first, mut other]: [TcpStream; 2]) {
    ambit_net::reset(first);
    let error = soon(other.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

fn swapped([client, server]: [TcpStream; 2]) -> [TcpStream; 2] {
    [server, client]
}

#[tokio::test]
async fn every_way_carries_ends_as_they_are() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = Mesh::builder()
        .pod("client", "n1")
        .plain_pod("stranger", "n1")
        .pod("beside", "n1")
        .pod("server", "n2")
        .plain_pod("plain", "n2")
        .start()
        .await;
    for (way, from, to) in [
        ("HBONE", "client", "server"),
        ("local", "client", "beside"),
        ("out of the mesh", "client", "plain"),
        ("into the mesh", "stranger", "server"),
    ] {
        println!("{way}");
        let app = mesh.listen(to, 8080);
        let to = mesh.at(to, 8080);
        half_close(connected(&mesh, from, to, &app).await).await;
        half_close(swapped(connected(&mesh, from, to, &app).await)).await;
        reset(connected(&mesh, from, to, &app).await).await;
        reset(swapped(connected(&mesh, from, to, &app).await)).await;
    }
}

#[tokio::test]
async fn what_policy_cuts_off_is_reset_at_both_ends() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mut mesh = Mesh::builder()
        .pod("client", "n1")
        .plain_pod("stranger", "n1")
        .pod("beside", "n1")
        .pod("server", "n2")
        .start()
        .await;
    let mut open = Vec::new();
    for (way, from, to) in [
        ("HBONE", "client", "server"),
        ("local", "client", "beside"),
        ("into the mesh", "stranger", "server"),
    ] {
        let app = mesh.listen(to, if way == "HBONE" { 8080 } else { 8081 });
        let to = SocketAddr::new(mesh.at(to, 0).ip(), app.local_addr().unwrap().port());
        open.push((way, connected(&mesh, from, to, &app).await));
    }
    let nobody = json!({
        "name": "nobody", "namespace": "default", "scope": "Namespace", "action": "Allow", "rules": [],
    });
    mesh.update(|state| state.policies.push(serde_json::from_value(nobody).unwrap())).await;
    for (way, ends) in open {
        for mut end in ends {
            let error = soon(end.read_u8()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{way}");
        }
    }
}
