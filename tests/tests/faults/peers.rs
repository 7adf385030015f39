//! Peers that a tunnel calls and that do not do their part: they stall, reset everything, or do not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ambit_model::TunnelProtocol;
use ambit_tests::{Mesh, Usage, eventually, identity, missing, open, soon};
use ambit_tls::Credential;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{PORT, apart, traffic};

/// Clients of a bad peer at a time.
const CLIENTS: usize = 100;

/// Beside the usual two a pod whose proxy this process plays.
async fn with_a_bad_peer() -> Mesh {
    let mesh = apart()
        .plain_pod("bad", "n2")
        .workload("bad", |workload| workload.protocol = TunnelProtocol::Hbone)
        .start()
        .await;
    mesh.greeter("server", PORT, "server");
    mesh
}

#[tokio::test]
async fn a_peer_that_stalls_in_its_handshake_costs_its_own_callers_ten_seconds() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = with_a_bad_peer().await;
    let before = Usage::of(mesh.pid("n1"));
    let listener = mesh.listen("bad", 15008);
    let accepted = Arc::new(AtomicUsize::new(0));
    tokio::spawn({
        let accepted = accepted.clone();
        async move {
            let mut held = Vec::new();
            while let Ok((tcp, _)) = listener.accept().await {
                held.push(tcp);
                accepted.store(held.len(), Relaxed);
            }
        }
    });
    let traffic = traffic(&mesh, "client").await;
    let began = Instant::now();
    let answers = join_all((0..CLIENTS).map(|_| mesh.ask("client", mesh.at("bad", PORT)))).await;
    assert_eq!(answers, vec!["reset"; CLIENTS]);
    let (took, calls) = (began.elapsed(), accepted.load(Relaxed));
    println!("{CLIENTS} callers were refused after {took:?}, and {calls} connections");
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(15), "{took:?}");
    // One handshake for each worker, whoever waits for it.
    assert!(calls <= 2, "{calls}");
    let account = traffic.stop().await;
    println!("meanwhile: {account:?}");
    assert_eq!(account.failures, [""; 0]);
    // Everybody who was refused is told of.
    eventually(|| async {
        let count = mesh.log("n1").matches("did not complete the handshake").count();
        if count == CLIENTS { Ok(()) } else { Err(format!("{count} of {CLIENTS}")) }
    })
    .await;
    eventually(|| async {
        let now = Usage::of(mesh.pid("n1"));
        // The tunnel to the server stays, one for each worker.
        if now.descriptors <= before.descriptors + 4 { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_resets_everything_is_asked_a_few_times_only() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = with_a_bad_peer().await;
    let credential = Arc::new(mesh.credential(&identity("bad")).await);
    let asked = Arc::new(AtomicUsize::new(0));
    tokio::spawn(reset_all(mesh.listen("bad", 15008), credential, asked.clone()));
    let traffic = traffic(&mesh, "client").await;
    let cpu = Usage::of(mesh.pid("n1")).cpu;
    let answers = join_all((0..CLIENTS).map(|_| mesh.ask("client", mesh.at("bad", PORT)))).await;
    assert_eq!(answers, vec!["reset"; CLIENTS]);
    let (asked, cpu) = (asked.load(Relaxed), Usage::of(mesh.pid("n1")).cpu - cpu);
    println!("{CLIENTS} callers: {asked} CONNECTs, {cpu:?} of CPU");
    assert!(asked <= 3 * CLIENTS, "{asked}");
    let account = traffic.stop().await;
    assert_eq!(account.failures, [""; 0], "{account:?}");
}

/// Takes HTTP/2 connections and refuses every stream before it has looked at it, so that it may be tried again.
async fn reset_all(listener: TcpListener, credential: Arc<Credential>, asked: Arc<AtomicUsize>) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (credential, asked) = (credential.clone(), asked.clone());
        tokio::spawn(async move {
            let Ok(tls) = ambit_tls::accept(&credential, tcp).await else { return };
            let Ok(mut connection) = h2::server::handshake(tls).await else {
                return;
            };
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                asked.fetch_add(1, Relaxed);
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
        });
    }
}

/// Applications that do not read.
const SLOW: usize = 20;
/// What a tunnel may hold for each of them: a stream's window, and some.
const MEMORY: u64 = 6 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_stalls_itself_and_fills_no_memory() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = with_a_bad_peer().await;
    let traffic = traffic(&mesh, "client").await;
    let sink = mesh.listen("server", PORT + 1);
    let to = mesh.at("server", PORT + 1);
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    for _ in 0..SLOW {
        clients.push(mesh.dial("client", to).await.unwrap());
        servers.push(soon(sink.accept()).await.unwrap().0);
    }
    let before = ["n1", "n2"].map(|node| Usage::of(mesh.pid(node)).memory);
    let sent: Vec<usize> = join_all(clients.iter_mut().map(fill)).await;
    let after = ["n1", "n2"].map(|node| Usage::of(mesh.pid(node)).memory);
    let total: usize = sent.iter().sum();
    println!("{SLOW} readers stalled {} MiB; tunnels: {before:?}, then {after:?}", total >> 20);
    for (before, after) in before.into_iter().zip(after) {
        assert!(after < before + SLOW as u64 * MEMORY, "{before}, then {after}");
    }
    traffic.goes_on(10).await;
    // Nothing of it is lost.
    for ((client, mut server), sent) in clients.into_iter().zip(servers).zip(sent) {
        drop(client);
        let mut read = Vec::new();
        soon(server.read_to_end(&mut read)).await.unwrap();
        assert_eq!(read.len(), sent);
    }
    let account = traffic.stop().await;
    println!("{account:?}");
    assert_eq!(account.failures, [""; 0]);
    let (netns, to) = (mesh.pod("client").room().netns(), mesh.at("server", PORT));
    soon(open(netns, to)).await.unwrap();
}

/// Writes until nothing has been taken for a while; says how much was.
async fn fill(tcp: &mut TcpStream) -> usize {
    let (block, mut sent) = (vec![7; 256 << 10], 0);
    while let Ok(Ok(count)) = timeout(Duration::from_secs(1), tcp.write(&block)).await {
        sent += count;
    }
    sent
}
