//! How many connections a tunnel makes to one peer, and when it makes another.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ambit_hbone::{Config, Server};
use ambit_model::TunnelProtocol;
use ambit_tests::{Mesh, MeshBuilder, Peer, eventually, greet, identity, missing, soon};
use ambit_tls::Credential;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

fn builder() -> MeshBuilder {
    Mesh::builder()
        .pod("client", "n1")
        .pod("other", "n1")
        .plain_pod("web", "n2")
        .workload("web", |workload| workload.protocol = TunnelProtocol::Hbone)
}

/// An open connection of `pod` that has been greeted.
async fn open(mesh: &Mesh, pod: &str, to: SocketAddr) -> BufReader<TcpStream> {
    let mut tcp = BufReader::new(mesh.dial(pod, to).await.unwrap());
    assert_ne!(line(&mut tcp).await, "");
    tcp
}

async fn line(tcp: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    soon(tcp.read_line(&mut line)).await.unwrap();
    line
}

/// How many streams each TLS connection carried, fewest first.
fn streams(peer: &Peer) -> Vec<usize> {
    let mut streams: BTreeMap<usize, usize> = BTreeMap::new();
    for seen in peer.seen() {
        *streams.entry(seen.connection).or_default() += 1;
    }
    let mut streams: Vec<usize> = streams.into_values().collect();
    streams.sort_unstable();
    streams
}

#[tokio::test]
async fn connections_of_a_pod_share_one_per_worker_up_to_the_limit() {
    if missing(&[]).is_some() {
        return;
    }
    for (what, variables, limit, expected) in [
        ("100 by default", &[("ZTUNNEL_WORKER_THREADS", "1")][..], 200, vec![1, 100]),
        (
            "as configured",
            &[("ZTUNNEL_WORKER_THREADS", "1"), ("POOL_MAX_STREAMS_PER_CONNECTION", "40")],
            200,
            vec![21, 40, 40],
        ),
        ("as many as the peer takes", &[("ZTUNNEL_WORKER_THREADS", "1")], 30, vec![11, 30, 30, 30]),
    ] {
        let mesh = variables.iter().fold(builder(), |mesh, (name, value)| mesh.env(name, value));
        let mesh = mesh.start().await;
        let credential = mesh.credential(&identity("web")).await;
        let config = Config { server_max_streams: limit, ..Config::default() };
        let web = Peer::start(&mesh, "web", credential, config, |connect| async {
            if let Ok(stream) = connect.accept(None) {
                let _ = greet(stream.into_io(), "web").await;
            }
        });
        let to = mesh.at("web", 8080);
        let mut held = Vec::new();
        for _ in 0..101 {
            held.push(open(&mesh, "client", to).await);
        }
        assert_eq!(streams(&web), expected, "{what}");
        // All at once, before the peer has said how many it takes.
        let at_once = (0..101).map(|_| open(&mesh, "other", to));
        let _at_once = futures_util::future::join_all(at_once).await;
        assert_eq!(streams(&web), expected, "{what}, all at once");
    }
}

#[tokio::test]
async fn pods_do_not_share_and_workers_have_their_own() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = builder().env("ZTUNNEL_WORKER_THREADS", "3").start().await;
    let web = Peer::of(&mesh, "web").await;
    let to = mesh.at("web", 8080);
    for pod in ["client", "other"] {
        let before = web.connections();
        let all = (0..40).map(|_| mesh.ask(pod, to));
        assert!(futures_util::future::join_all(all).await.iter().all(|answer| answer == "web"));
        let made = web.connections() - before;
        assert!((1..=3).contains(&made), "{made} connections of {pod}");
        assert!(web.seen().iter().all(|seen| seen.client == Some(identity(pod))));
    }
}

#[tokio::test]
async fn a_few_connections_of_a_pod_share_one_however_many_workers_there_are() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = builder().env("ZTUNNEL_WORKER_THREADS", "6").start().await;
    let web = Peer::of(&mesh, "web").await;
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(open(&mesh, "client", mesh.at("web", 8080)).await);
    }
    assert_eq!(web.connections(), 1);
}

#[tokio::test]
async fn a_connection_without_streams_is_let_go() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = builder().env("POOL_UNUSED_RELEASE_TIMEOUT", "300ms").start().await;
    let web = Peer::of(&mesh, "web").await;
    let to = mesh.at("web", 8080);
    for round in 1..=2 {
        assert_eq!(mesh.ask("client", to).await, "web");
        assert_eq!(web.connections(), round);
        eventually(|| async {
            let ended = web.ended();
            if ended == round { Ok(()) } else { Err(format!("{ended} of {round} have ended")) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_peer_that_goes_away_is_called_again() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = builder().env("ZTUNNEL_WORKER_THREADS", "1").start().await;
    let (listener, to) = (mesh.listen("web", 15008), mesh.at("web", 8080));
    let credential = mesh.credential(&identity("web")).await;

    // It says so and lets the stream finish.
    let (shut, asked) = oneshot::channel();
    let draining = tokio::spawn(serve_one(listener, credential, "first", asked));
    let mut first = open(&mesh, "client", to).await;
    shut.send(()).unwrap();
    let (listener, credential) = soon(draining).await.unwrap();
    let (shut, asked) = oneshot::channel();
    let dying = tokio::spawn(serve_one(listener, credential, "second", asked));
    let mut second = open(&mesh, "client", to).await;
    first.write_all(b"still there\n").await.unwrap();
    assert_eq!(line(&mut first).await, "still there\n");
    first.shutdown().await.unwrap();
    assert_eq!(line(&mut first).await, "");

    // It goes without a word.
    dying.abort();
    let error = soon(second.read_line(&mut String::new())).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    drop(shut);
    let _web = Peer::of(&mesh, "web").await;
    eventually(|| async {
        let answer = mesh.ask("client", to).await;
        if answer == "web" { Ok(()) } else { Err(answer) }
    })
    .await;
}

/// Takes one connection and one request on it, which is greeted. When asked, sends GOAWAY, and leaves the connection
/// to a task of its own.
async fn serve_one(
    listener: TcpListener,
    credential: Credential,
    greeting: &'static str,
    mut asked: oneshot::Receiver<()>,
) -> (TcpListener, Credential) {
    let (tcp, _) = soon(listener.accept()).await.unwrap();
    let tls = soon(ambit_tls::accept(&credential, tcp)).await.unwrap();
    let mut server = Server::handshake(tls, &Config::default()).await.unwrap();
    loop {
        tokio::select! {
            connect = server.next() => {
                let stream = connect.unwrap().unwrap().accept(None).unwrap();
                tokio::spawn(greet(stream.into_io(), greeting));
            }
            _ = &mut asked => break,
        }
    }
    server.graceful_shutdown();
    tokio::spawn(async move { while server.next().await.is_some() {} });
    (listener, credential)
}
