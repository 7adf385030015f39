//! Clients that mean harm: requests that two readers understand in two ways, and connections that cost more than they
//! should.
//!
//! Floods are those of CVE-2023-44487 and of the CONTINUATION frames of 2024, and cheaper ones.

mod corpus;

use std::time::{Duration, Instant};

use ambit_tests::{http2, missing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::endpoint::{Endpoint, answer};
use super::http1::{self, Message, Reader};
use super::scene::{SERVERS, Scene, Service};
use Fate::{Arrives, Refused};
use corpus::{FIELDS, Fate, SMUGGLED};

/// The fields that every request of HTTP/2 has.
const REQUEST: [(&str, &str); 4] =
    [(":method", "GET"), (":path", "/"), (":authority", "x"), (":scheme", "http")];
const FAR: &[&str] = &[SERVERS[1]];
/// Long enough for an answer that is going to come.
const QUIET: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn no_request_of_http1_means_two_things() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let endpoint = Endpoint::start(&scene, "far", |_| answer(200, "", "ok"));
    scene.offer(Service::http("strict", endpoint.port).on(FAR)).await;
    let mut complaints = Vec::new();
    for (name, sent, fate) in SMUGGLED {
        let before = endpoint.count();
        let mut stream = scene.connect("strict").await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let said = said(&mut stream).await;
        let seen = endpoint.requests().split_off(before);
        if let Some(complaint) = complaint(*fate, &seen, &said) {
            complaints.push(format!("{name}: {complaint}"));
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// The statuses of the answers until nothing more comes, and whether the connection was closed.
async fn said(stream: &mut TcpStream) -> (Vec<u16>, bool) {
    let mut reader = Reader::new(stream);
    let mut statuses = Vec::new();
    loop {
        match timeout(QUIET, reader.response("GET")).await {
            Ok(Ok(response)) => statuses.push(response.status),
            Ok(Err(_)) => return (statuses, true),
            Err(_) => return (statuses, false),
        }
        // What was asked in full has been answered by then.
        if statuses.len() > 4 {
            return (statuses, false);
        }
    }
}

fn complaint(fate: Fate, seen: &[Message], said: &(Vec<u16>, bool)) -> Option<String> {
    let told: Vec<String> =
        seen.iter().map(|m| format!("{} {} {}", m.method(), m.path(), m.text())).collect();
    for message in seen {
        let framings = message.count("content-length") + message.count("transfer-encoding");
        if framings > 1 || message.count("host") != 1 || message.header("upgrade").is_some() {
            return Some(format!("arrives as {message:?}"));
        }
    }
    match fate {
        Arrives(expected) if told != expected => Some(format!("arrives as {told:?}, {said:?}")),
        Refused if !told.is_empty() => Some(format!("arrives as {told:?}, {said:?}")),
        Refused if said.0.iter().any(|status| !(400..500).contains(status)) => {
            Some(format!("is answered by {said:?}"))
        }
        Refused if !said.1 && said.0.is_empty() => {
            Some("is neither answered nor closed".to_owned())
        }
        _ => None,
    }
}

#[tokio::test]
async fn no_request_of_http2_means_two_things() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let endpoint = Endpoint::start(&scene, "far", |_| answer(200, "", "ok"));
    scene.offer(Service::http("strict-two", endpoint.port).on(FAR)).await;
    let mut complaints = Vec::new();
    for (name, without, with, fate) in FIELDS {
        let mut fields: Vec<(&str, &str)> = REQUEST.to_vec();
        fields.retain(|(name, _)| !without.contains(name));
        fields.extend_from_slice(with);
        let before = endpoint.count();
        let mut stream = scene.connect("strict-two").await.unwrap();
        let mut sent = http2::preface();
        sent.extend(http2::headers(1, &fields, true));
        stream.write_all(&sent).await.unwrap();
        let end = timeout(QUIET, http2::end_of_stream(&mut stream, 1)).await;
        let seen = endpoint.requests().split_off(before);
        let said = match end {
            Ok(http2::End::Answered(status)) => (vec![status], true),
            Ok(_) => (Vec::new(), true),
            Err(_) => (Vec::new(), false),
        };
        if let Some(complaint) = complaint(*fate, &seen, &said) {
            complaints.push(format!("{name}: {complaint}"));
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[tokio::test]
async fn heads_that_never_end_or_are_too_large_are_cut_off() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let endpoint = Endpoint::start(&scene, "far", |_| answer(200, "", "ok"));
    scene.offer(Service::http("bounded", endpoint.port).on(FAR)).await;
    let field = format!("X: {}\r\n", "y".repeat(1000));
    for (name, head) in [
        ("many bytes", field.repeat(200)),
        ("many fields", "X: y\r\n".repeat(2000)),
        ("a long target", format!("Y: {}\r\n", "z".repeat(200_000))),
    ] {
        let mut stream = scene.connect("bounded").await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{head}\r\n");
        // It may be refused before all of it is sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let (statuses, closed) = said(&mut stream).await;
        assert!(closed, "{name}: {statuses:?}");
        assert!(
            statuses.iter().all(|status| [400, 414, 431].contains(status)),
            "{name}: {statuses:?}"
        );
    }
    assert_eq!(endpoint.count(), 0);
    // A byte every now and then: given up fifteen seconds after the first, however busily they come.
    let mut idle = scene.connect("bounded").await.unwrap();
    assert_eq!(http1::ask(&mut idle, "/").await.unwrap().status, 200);
    let mut slow = scene.connect("bounded").await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        let trickle = async {
            slow.write_all(b"X: y\r\n").await?;
            let read = timeout(Duration::from_millis(500), slow.read(&mut [0; 512])).await;
            Ok::<_, std::io::Error>(matches!(read, Ok(Ok(0))))
        };
        match trickle.await {
            Ok(false) => {}
            Ok(true) | Err(_) => break,
        }
    }
    let took = began.elapsed();
    assert!((14..18).contains(&took.as_secs()), "closed after {took:?}");
    // Who keeps a connection for later is not slow.
    assert_eq!(http1::ask(&mut idle, "/").await.unwrap().status, 200);
    assert_eq!(endpoint.count(), 2);
}

#[tokio::test]
async fn floods_of_frames_cost_little() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::start().await;
    let endpoint = Endpoint::start(&scene, "far", |_| answer(200, "", "ok"));
    scene.offer(Service::http("flooded", endpoint.port).on(FAR)).await;
    let mut other = scene.connect("flooded").await.unwrap();
    assert_eq!(http1::ask(&mut other, "/").await.unwrap().status, 200);
    for flood in [Flood::Continuation, Flood::RapidReset, Flood::Settings, Flood::Ping] {
        let (mut reader, mut writer) = scene.connect("flooded").await.unwrap().into_split();
        let (before, started) = (scene.usage().cpu, endpoint.count());
        let (began, bytes) = (Instant::now(), flood.bytes());
        // Whoever refuses does so before all of it is sent.
        let write = async {
            let _ = writer.write_all(&bytes).await;
            std::future::pending::<()>().await;
        };
        let read = timeout(Duration::from_secs(5), http2::end_of_stream(&mut reader, 0));
        let end = tokio::select! {
            () = write => None,
            end = read => end.ok(),
        };
        let cost = Cost::since(&scene, before);
        println!("{flood:?}: {} bytes, {end:?} after {:?}, {cost:?}", bytes.len(), began.elapsed());
        if [Flood::Continuation, Flood::RapidReset].contains(&flood) {
            assert!(matches!(end, Some(http2::End::Refused(_))), "{flood:?}: {end:?}");
        }
        if flood == Flood::RapidReset {
            assert!(matches!(end, Some(http2::End::Refused(Some(http2::CALM) | None))), "{end:?}");
        }
        cost.is_small(flood);
        assert!(endpoint.count() - started < 100, "{flood:?} reaches the endpoint");
        served_meanwhile(&mut other).await;
    }
    // As fast as the requests are taken in, and each is left as soon as it is.
    let mut stream = scene.connect("flooded").await.unwrap();
    let before = scene.usage().cpu;
    stream.write_all(&http2::preface()).await.unwrap();
    let (mut left, mut number) = (0, 1);
    let refused = loop {
        let lot: Vec<u32> = (0..20).map(|n| number + 2 * n).collect();
        number += 40;
        let asked = lot.iter().flat_map(|n| http2::headers(*n, &REQUEST, true));
        let bytes: Vec<u8> = asked.chain(http2::ping()).collect();
        let resets: Vec<u8> = lot.iter().flat_map(|n| http2::reset(*n)).collect();
        let took = async {
            stream.write_all(&bytes).await?;
            http2::ponged(&mut stream).await?;
            stream.write_all(&resets).await
        };
        match took.await {
            Ok(()) => left += lot.len(),
            Err(error) => break Some(error.to_string()),
        }
        if left == 4000 {
            break None;
        }
    };
    let cost = Cost::since(&scene, before);
    println!("{left} requests asked and left, {cost:?}, refused: {refused:?}");
    cost.is_small(Flood::RapidReset);
    served_meanwhile(&mut other).await;
}

/// Frames that cost more than they should.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flood {
    Continuation,
    RapidReset,
    Settings,
    Ping,
}

/// What a flood cost the waypoint.
#[derive(Debug)]
struct Cost {
    cpu: Duration,
    /// Mebibytes, at most so far.
    memory: u64,
}

impl Flood {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = http2::preface();
        match self {
            Self::Continuation => {
                bytes.extend(http2::headers_open(1, &REQUEST));
                bytes.extend(http2::continuation(1, 16_000).repeat(4_000));
            }
            Self::RapidReset => {
                for stream in (1..40_000).step_by(2) {
                    bytes.extend(http2::headers(stream, &REQUEST, true));
                    bytes.extend(http2::reset(stream));
                }
            }
            Self::Settings => bytes.extend(http2::settings().repeat(50_000)),
            Self::Ping => bytes.extend(http2::ping().repeat(50_000)),
        }
        bytes
    }
}

impl Cost {
    fn since(scene: &Scene, before: Duration) -> Self {
        let now = scene.usage();
        Self { cpu: now.cpu - before, memory: now.peak >> 20 }
    }

    fn is_small(&self, flood: Flood) {
        assert!(self.memory < 64, "{flood:?}: {self:?}");
        assert!(self.cpu < Duration::from_secs(8), "{flood:?}: {self:?}");
    }
}

async fn served_meanwhile(other: &mut TcpStream) {
    let began = Instant::now();
    assert_eq!(http1::ask(other, "/").await.unwrap().status, 200);
    assert!(began.elapsed() < Duration::from_secs(2), "others wait {:?}", began.elapsed());
}
