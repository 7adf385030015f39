//! Peers and applications that do not read what is meant for them: a tunnel has to keep it meanwhile.

use std::time::Duration;

use ambit_tests::http2::{self, End};
use ambit_tests::{Mesh, Usage, connect_request, eventually, identity, missing, soon};
use bytes::Bytes;
use futures_util::future::join_all;
use h2::SendStream;
use h2::client::SendRequest;
use tokio::io::{AsyncWriteExt, split};

use super::{Cost, mesh, neighbours, served};

/// As many as a tunnel lets a peer open.
const STREAMS: usize = 200;
/// What a stream has to say: more than any window.
const MUCH: usize = 8 << 20;

/// HTTP/2 with the server's tunnel, by a client that lets each stream send it so many bytes.
async fn client(mesh: &Mesh, window: u32) -> SendRequest<Bytes> {
    let own = mesh.credential(&identity("caller")).await;
    let config = ambit_tls::client_config(&own, &[identity("server")]);
    let to = mesh.at("server", 15008);
    let tls = mesh.dial_tls("caller", to, (*config).clone()).await.expect("TLS");
    let mut builder = h2::client::Builder::new();
    let handshake = builder.initial_window_size(window).max_concurrent_streams(1000).handshake(tls);
    let (send, connection) = soon(handshake).await.expect("HTTP/2");
    tokio::spawn(connection);
    send
}

/// Waits until a tunnel computes no more: everything is as full as it gets.
async fn settled(mesh: &Mesh) {
    let computed = || Usage::of(mesh.pid("n2")).cpu;
    eventually(|| async {
        let before = computed();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let spent = computed() - before;
        if spent < Duration::from_millis(30) { Ok(()) } else { Err(format!("{spent:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_holds_its_windows_shut_makes_the_tunnel_keep_little() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = mesh().start().await;
    let neighbour = neighbours(&mesh).await;
    let app = mesh.listen("server", 8080);
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = app.accept().await {
            tokio::spawn(async move { tcp.write_all(&vec![7; MUCH]).await });
        }
    });
    let cost = Cost::of(&mesh, "n2");
    let mut client = client(&mesh, 0).await;
    let authority = mesh.at("server", 8080).to_string();
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        client = soon(client.ready()).await.unwrap();
        let (response, send) = client.send_request(connect_request(&authority), false).unwrap();
        open.push((soon(response).await.unwrap(), send));
    }
    settled(&mesh).await;
    let (_, memory) = cost.told("windows held shut");
    assert!(memory < 80 << 20, "{memory} bytes for {STREAMS} streams");
    served(&mesh.measure("asker", neighbour, Duration::from_secs(1)).await);
}

#[tokio::test]
async fn applications_that_do_not_read_make_the_tunnel_keep_little() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = mesh().start().await;
    let neighbour = neighbours(&mesh).await;
    let app = mesh.listen("server", 8080);
    tokio::spawn(async move {
        let mut unread = Vec::new();
        while let Ok((tcp, _)) = app.accept().await {
            unread.push(tcp);
        }
    });
    let cost = Cost::of(&mesh, "n2");
    let mut client = client(&mesh, 1 << 20).await;
    let authority = mesh.at("server", 8080).to_string();
    let (mut open, mut sending) = (Vec::new(), Vec::new());
    for _ in 0..STREAMS {
        client = soon(client.ready()).await.unwrap();
        let (response, send) = client.send_request(connect_request(&authority), false).unwrap();
        open.push(soon(response).await.unwrap());
        sending.push(tokio::spawn(pour(send)));
    }
    settled(&mesh).await;
    let (_, memory) = cost.told("applications that do not read");
    assert!(memory < 160 << 20, "{memory} bytes for {STREAMS} streams");
    served(&mesh.measure("asker", neighbour, Duration::from_secs(1)).await);
    sending.iter().for_each(tokio::task::JoinHandle::abort);
    join_all(sending).await;
}

/// Sends as much as the stream takes.
async fn pour(mut send: SendStream<Bytes>) {
    let mut left = MUCH;
    while left > 0 {
        send.reserve_capacity(left.min(1 << 20));
        let Some(Ok(capacity)) = std::future::poll_fn(|cx| send.poll_capacity(cx)).await else {
            return;
        };
        let now = capacity.min(left);
        if send.send_data(Bytes::from(vec![7; now]), false).is_err() {
            return;
        }
        left -= now;
    }
}

/// Acknowledges the windows that there are at first, fills them, and takes no notice of others.
#[tokio::test]
async fn a_peer_that_does_not_heed_smaller_windows_is_cut_off() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = mesh().start().await;
    let neighbour = neighbours(&mesh).await;
    let app = mesh.listen("server", 8080);
    tokio::spawn(async move {
        let mut unread = Vec::new();
        while let Ok((tcp, _)) = app.accept().await {
            unread.push(tcp);
        }
    });
    let own = mesh.credential(&identity("caller")).await;
    let config = ambit_tls::client_config(&own, &[identity("server")]);
    let tls = mesh.dial_tls("caller", mesh.at("server", 15008), (*config).clone()).await.unwrap();
    let (mut read, mut write) = split(tls);
    let authority = mesh.at("server", 8080).to_string();
    let cost = Cost::of(&mesh, "n2");
    write.write_all(&[http2::preface(), http2::ping()].concat()).await.unwrap();
    write.flush().await.unwrap();
    http2::ponged(&mut read).await.unwrap();
    let pour = async {
        write.write_all(&http2::settings_ack()).await?;
        for stream in (1..2 * STREAMS as u32).step_by(2) {
            let head = [(":method", "CONNECT"), (":authority", authority.as_str())];
            write.write_all(&http2::headers(stream, &head, false)).await?;
            for _ in 0..4 {
                write.write_all(&http2::data(stream, 1 << 20)).await?;
            }
        }
        write.flush().await
    };
    let (poured, end) = tokio::join!(pour, http2::end_of_stream(&mut read, 0));
    println!("{poured:?}, {end:?}");
    // Flow control (RFC 9113 7), unless the reset that follows overtakes it.
    assert!(matches!(end, End::Refused(Some(3) | None)), "{end:?}");
    let (_, memory) = cost.told("smaller windows not heeded");
    assert!(memory < 400 << 20, "{memory} bytes");
    served(&mesh.measure("asker", neighbour, Duration::from_secs(1)).await);
}
