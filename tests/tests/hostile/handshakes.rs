//! Handshakes that never end, and more of them than a node can compute.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ambit_tests::{Mesh, Usage, eventually_within, identity, missing, soon};
use futures_util::StreamExt;
use futures_util::stream;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};

use super::{Cost, counted, mesh, neighbours, served, unharmed};

/// Handshakes that stall at each place.
const STALLED: usize = 1500;
/// What the two workers of a tunnel keep for one pod, and what they need besides.
const KEPT: usize = 2 * 1024 + 100;
/// Handshakes a second in a storm, and for how long.
const RATE: u32 = 500;
const STORM: Duration = Duration::from_secs(5);

/// The first words of a client, by which the server has to compute.
async fn client_hello(mesh: &Mesh) -> Vec<u8> {
    let credential = mesh.credential(&identity("caller")).await;
    let config = ambit_tls::client_config(&credential, &[identity("server")]);
    let name = ServerName::from(mesh.at("server", 0).ip());
    let mut connection = ClientConnection::new(config, name).expect("a configuration");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("it is written");
    hello
}

/// A connection that has said so much.
async fn say(mesh: &Mesh, to: SocketAddr, words: &[u8]) -> TcpStream {
    let mut tcp = mesh.dial("caller", to).await.expect("somebody listens");
    // It may have been given up already.
    let _ = tcp.write_all(words).await;
    tcp
}

#[tokio::test]
async fn thousands_of_stalled_handshakes_hold_up_nobody() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = mesh().start().await;
    mesh.greeter("server", 8080, "server for");
    let neighbour = neighbours(&mesh).await;
    let (to, hello) = (mesh.at("server", 15008), client_hello(&mesh).await);
    let own = mesh.credential(&identity("caller")).await;
    let cost = Cost::of(&mesh, "n2");
    let watched = mesh.neighbour("asker", neighbour);
    let mut held = Vec::new();
    for (stage, words) in [
        ("nothing", &[][..]),
        ("half a record", &hello[..100]),
        // Its head says that 16 KiB follow.
        ("a large record", &[22, 3, 1, 64, 0, 1]),
        ("a client hello", &hello),
    ] {
        let began = Instant::now();
        let stalled = stream::iter(0..STALLED).map(|_| say(&mesh, to, words)).buffer_unordered(64);
        held.extend(stalled.collect::<Vec<_>>().await);
        // Whoever means it goes through, also with the attacked pod.
        let asked = Instant::now();
        let mut caller = mesh.caller("caller", &own, to, &identity("server")).await;
        let answer = caller.connect(&mesh.at("server", 8080).to_string()).await.in_a_word();
        assert_eq!(answer, "200", "after {stage}");
        let usage = Usage::of(mesh.pid("n2"));
        let (memory, waited) = (usage.memory >> 20, asked.elapsed());
        println!(
            "{stage}: {memory} MiB, {} descriptors, others wait {waited:?}",
            usage.descriptors
        );
        println!("{STALLED} took {:?}", began.elapsed());
        assert!(usage.descriptors < KEPT, "{stage}: {usage:?}");
        assert!(waited < Duration::from_secs(3), "{stage}: {waited:?}");
    }
    served(&watched.stop().await);
    let (_, memory) = cost.told("stalled handshakes");
    assert!(memory < 100 << 20, "{memory} bytes");
    // Each is given up, and said to be.
    eventually_within(Duration::from_secs(30), || async {
        let usage = Usage::of(mesh.pid("n2"));
        let open = counted(&mesh, "n2", "ambit_pod_handshakes", &[r#"pod="server""#]).await;
        match (usage.descriptors < 100, open) {
            (true, 0) => Ok(()),
            _ => Err(format!("{open} handshakes, {usage:?}")),
        }
    })
    .await;
    let mut failed = [0; 2];
    for (count, reason) in failed.iter_mut().zip(["displaced", "handshake_timeout"]) {
        let reason = format!(r#"reason="{reason}""#);
        *count = counted(&mesh, "n2", "ambit_handshakes_failed_total", &[&reason]).await;
    }
    println!("{} displaced, {} timed out", failed[0], failed[1]);
    assert_eq!(failed.iter().sum::<u64>(), held.len() as u64);
    let refused = counted(&mesh, "n2", "ambit_pod_refused_total", &[r#"pod="server""#]).await;
    assert_eq!(refused, failed[0]);
}

#[tokio::test]
async fn a_storm_of_handshakes_with_one_pod_leaves_the_others_their_turn() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = mesh().start().await;
    let neighbour = neighbours(&mesh).await;
    let (to, hello) = (mesh.at("server", 15008), client_hello(&mesh).await);
    let cost = Cost::of(&mesh, "n2");
    let mut answered = 0;
    unharmed(&mesh, neighbour, async || answered += storm(&mesh, to, &hello).await).await;
    let (cpu, memory) = cost.told("the storm");
    println!(
        "{answered} handshakes were begun by the server, {:?} of CPU each",
        cpu / answered.max(1)
    );
    assert!(answered >= RATE * STORM.as_secs() as u32 * 9 / 10, "{answered} are no storm");
    assert!(memory < 64 << 20, "{memory} bytes");
}

/// Sends client hellos at a steady rate, however many are answered; says how many were.
async fn storm(mesh: &Mesh, to: SocketAddr, hello: &[u8]) -> u32 {
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let began = Instant::now();
    let ticks = stream::unfold(ticks, |mut ticks| async {
        ticks.tick().await;
        (began.elapsed() < STORM).then_some(((), ticks))
    });
    let handshakes = ticks.map(|()| async {
        let mut tcp = say(mesh, to, hello).await;
        matches!(soon(tcp.read(&mut [0; 4096])).await, Ok(1..))
    });
    handshakes.buffer_unordered(2000).filter(|answered| std::future::ready(*answered)).count().await
        as u32
}
