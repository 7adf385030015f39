//! HTTP/2 that no honest peer would speak, by one that has a certificate of the mesh.
//!
//! Floods are those of CVE-2019-9512 to 9518, CVE-2023-44487, and of the CONTINUATION frames of 2024.

use std::time::{Duration, Instant};

use ambit_tests::http2::{self, End};
use ambit_tests::{Mesh, identity, missing};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{Cost, counted, mesh, neighbours, served};

/// Error codes (RFC 9113 7).
const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const FRAME_SIZE: u32 = 6;
const REFUSED_STREAM: u32 = 7;

/// Types of frames.
const PRIORITY: u8 = 2;
const PUSH_PROMISE: u8 = 5;

/// Names of settings.
const INITIAL_WINDOW: u16 = 4;
const MAX_FRAME: u16 = 5;

const LIMIT: Duration = Duration::from_secs(20);

type Tls = TlsStream<TcpStream>;

/// The head of a CONNECT.
fn connect(authority: &str) -> [(&str, &str); 2] {
    [(":method", "CONNECT"), (":authority", authority)]
}

/// HTTP/2 with the server's tunnel, of which only the preface has been sent.
async fn dial(mesh: &Mesh) -> (ReadHalf<Tls>, WriteHalf<Tls>) {
    let own = mesh.credential(&identity("caller")).await;
    let config = ambit_tls::client_config(&own, &[identity("server")]);
    let to = mesh.at("server", 15008);
    let mut tls = mesh.dial_tls("caller", to, (*config).clone()).await.expect("TLS");
    tls.write_all(&http2::preface()).await.expect("it takes a preface");
    split(tls)
}

/// Sends bytes, and reads until `stream` or the connection is over. A connection that survives answers a last PING.
async fn play(mesh: &Mesh, bytes: &[u8], stream: u32) -> Option<End> {
    let (mut read, mut write) = dial(mesh).await;
    let send = async {
        // Whoever refuses does so before all of it is sent.
        let _ = write.write_all(bytes).await;
        let _ = write.write_all(&http2::last_ping()).await;
        let _ = write.flush().await;
        std::future::pending::<()>().await;
    };
    let read = async {
        match stream {
            0 => http2::survives(&mut read).await.err(),
            _ => Some(http2::end_of_stream(&mut read, stream).await),
        }
    };
    tokio::select! {
        () = send => None,
        end = timeout(LIMIT, read) => end.expect("an answer"),
    }
}

#[tokio::test]
async fn floods_are_cut_off_or_cost_little_and_neighbours_do_not_notice() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = mesh().start().await;
    mesh.greeter("server", 8080, "server for");
    let neighbour = neighbours(&mesh).await;
    let authority = mesh.at("server", 8080).to_string();
    let (head, nowhere) = (connect(&authority), connect("10.9.9.9:80"));
    let open = http2::headers(1, &head, false);
    let asked_and_left = (1..40_000)
        .step_by(2)
        .flat_map(|stream| [http2::headers(stream, &head, false), http2::reset(stream)].concat());
    for (flood, bytes, is_cut) in [
        (
            "CONTINUATION",
            [http2::headers_open(1, &head), http2::continuation(1, 16_000).repeat(4_000)].concat(),
            true,
        ),
        ("rapid reset", asked_and_left.collect(), true),
        ("empty DATA", [open.clone(), http2::data(1, 0).repeat(100_000)].concat(), true),
        ("DATA of one byte", [open.clone(), http2::data(1, 1).repeat(100_000)].concat(), false),
        ("PING", http2::ping().repeat(100_000), false),
        ("SETTINGS", http2::settings().repeat(100_000), false),
        ("PRIORITY", http2::frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 7]).repeat(100_000), false),
        ("unknown frames", http2::frame(200, 0, 0, &[0; 100]).repeat(100_000), false),
        ("WINDOW_UPDATE", http2::window_update(0, 1).repeat(100_000), false),
        (
            "refused CONNECTs",
            (1..20_000).step_by(2).flat_map(|s| http2::headers(s, &nowhere, true)).collect(),
            true,
        ),
    ] {
        let broken =
            counted(&mesh, "n2", "ambit_tunnels_broken_total", &[r#"reason="flood""#]).await;
        let (cost, began) = (Cost::of(&mesh, "n2"), Instant::now());
        let watched = mesh.neighbour("asker", neighbour);
        let end = play(&mesh, &bytes, 0).await;
        println!("{flood}: {} KiB, {end:?} after {:?}", bytes.len() >> 10, began.elapsed());
        let (cpu, memory) = cost.told(flood);
        served(&watched.stop().await);
        assert!(cpu < Duration::from_secs(8), "{flood}: {cpu:?}");
        assert!(memory < 48 << 20, "{flood}: {memory} bytes");
        let now = counted(&mesh, "n2", "ambit_tunnels_broken_total", &[r#"reason="flood""#]).await;
        if is_cut {
            assert!(
                matches!(end, Some(End::Refused(Some(http2::CALM) | None))),
                "{flood}: {end:?}"
            );
            assert_eq!(now, broken + 1, "{flood}");
        } else {
            assert!(end.is_none(), "{flood}: {end:?}");
        }
    }
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_so() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = mesh().start().await;
    mesh.greeter("server", 8080, "server for");
    let authority = mesh.at("server", 8080).to_string();
    let head = connect(&authority);
    let open = http2::headers(1, &head, false);
    let most = (1 << 31) - 1;
    let connection = |what, bytes, code| (what, bytes, 0, code);
    let mut complaints = Vec::new();
    for (what, bytes, stream, code) in [
        connection("a window beyond all", http2::window_update(0, most).repeat(2), FLOW_CONTROL),
        connection("no more window", http2::window_update(0, 0), PROTOCOL),
        connection("too large a window", http2::setting(INITIAL_WINDOW, 1 << 31), PROTOCOL),
        connection("too small frames", http2::setting(MAX_FRAME, 1), PROTOCOL),
        connection("a frame too large", vec![32, 0, 0, 0, 0, 0, 0, 0, 1], FRAME_SIZE),
        connection("DATA for nobody", http2::data(1, 10), PROTOCOL),
        connection("a server's stream", http2::headers(2, &head, false), PROTOCOL),
        connection("a promise", http2::frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2]), PROTOCOL),
        (
            "a stream's window beyond all",
            [open.clone(), http2::window_update(1, most)].concat(),
            1,
            FLOW_CONTROL,
        ),
        (
            "a stream too many",
            (1..=401).step_by(2).flat_map(|s| http2::headers(s, &head, false)).collect(),
            401,
            REFUSED_STREAM,
        ),
    ] {
        match play(&mesh, &bytes, stream).await {
            Some(End::Refused(Some(got))) if got == code => {}
            other => complaints.push(format!("{what}: {other:?} instead of {code}")),
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
    let reason = r#"reason="protocol_violation""#;
    assert_eq!(counted(&mesh, "n2", "ambit_tunnels_broken_total", &[reason]).await, 8);
}

#[tokio::test]
async fn heads_that_are_too_large_are_answered_and_not_kept() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = mesh().start().await;
    let authority = mesh.at("server", 8080).to_string();
    let head = connect(&authority);
    let large = "v".repeat(70 << 10);
    let fields = [&head[..], &[("x-large", large.as_str())]].concat();
    let cost = Cost::of(&mesh, "n2");
    for (what, bytes) in [
        ("one large field", http2::headers(1, &fields, false)),
        ("a field named ten thousand times", http2::bomb(1, &head, 10_000)),
    ] {
        match play(&mesh, &bytes, 1).await {
            Some(End::Answered(431 | 499) | End::Refused(Some(http2::CALM))) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    let (cpu, memory) = cost.told("large heads");
    assert!(memory < 16 << 20, "{memory} bytes");
    assert!(cpu < Duration::from_secs(2), "{cpu:?}");
}
