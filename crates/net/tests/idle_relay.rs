//! A process of its own, so that its pipes can be counted.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use ambit_net::{Counters, relay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Twice the relays that a thread's pool could serve.
const RELAYS: usize = 128;
/// More than four sockets' buffers and a pipe hold.
const FLOOD: usize = 3 << 20;
/// The descriptors of the pipes that a thread keeps for reuse.
const KEPT: usize = 2 * 64;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (client, server) = (client.unwrap(), server.unwrap().0);
    // All relays together must not take the machine's TCP memory.
    for stream in [&client, &server] {
        let socket = socket2::SockRef::from(stream);
        socket.set_recv_buffer_size(1 << 16).unwrap();
        socket.set_send_buffer_size(1 << 16).unwrap();
    }
    (client, server)
}

/// The descriptors of this process that are pipes.
fn pipes() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("pipe:"))
        .count()
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn relays_hold_pipes_only_while_bytes_are_in_them() {
    let at_rest = pipes();
    let mut ends = Vec::new();
    for _ in 0..RELAYS {
        let (client, a) = pair().await;
        let (b, server) = pair().await;
        tokio::spawn(async move { relay(a, b, &Counters::default()).await });
        ends.push((client, server));
    }
    for (client, server) in &mut ends {
        client.write_all(b"hello").await.unwrap();
        server.read_exact(&mut [0; 5]).await.unwrap();
    }
    assert_eq!(pipes(), at_rest, "small messages need no pipe");

    let flood: Vec<_> = ends
        .into_iter()
        .map(|(mut client, server)| {
            let sent = tokio::spawn(async move {
                client.write_all(&vec![1; FLOOD]).await.unwrap();
                client
            });
            (sent, server)
        })
        .collect();
    eventually("every relay is stalled with a pipe", || pipes() >= at_rest + 2 * RELAYS).await;

    let mut open = Vec::new();
    for (sent, mut server) in flood {
        let mut buffer = vec![0; FLOOD];
        server.read_exact(&mut buffer).await.unwrap();
        open.push((sent.await.unwrap(), server));
    }
    eventually("no relay has a pipe", || pipes() <= at_rest + KEPT).await;
    assert_eq!(open.len(), RELAYS);
}
