//! Endpoints that fail: what callers notice of it, and what it costs the others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ambit_sandbox::Component;
use ambit_tests::{eventually, http2, missing};
use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::endpoint::{Endpoint, Step, answer, status};
use super::http1::{self, Reader};
use super::scene::{SERVERS, Scene, Service};

const FAR: &[&str] = &[SERVERS[1]];

/// Rules that send everything to the service `name`, with `more` of HTTPRoute's fields.
fn rule(name: &str, more: &str) -> String {
    format!("  - {{backendRefs: [{{name: {name}, port: 80}}], {more}}}\n")
}

/// Asks on a connection of its own: the status, or what became of the connection.
async fn ask(scene: &Scene, service: &str, path: &str) -> Result<u16, String> {
    let mut stream = scene.connect(service).await.map_err(|error| error.to_string())?;
    http1::ask(&mut stream, path).await.map(|r| r.status).map_err(|error| error.to_string())
}

#[tokio::test]
async fn retries_by_code_stop_when_an_answer_is_good() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let left = Arc::new(AtomicUsize::new(0));
    let bad = left.clone();
    let endpoint = Endpoint::start(&scene, "far", move |_| {
        let fails = bad.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        status(if fails { 503 } else { 200 })
    });
    let rules = rule("codes", "retry: {codes: [503], attempts: 3, backoff: 1ms}");
    scene.offer(Service::http("codes", endpoint.port).on(FAR).rules(&rules)).await;
    for (fails, code, asked) in [(0, 200, 1), (1, 200, 2), (3, 200, 4), (4, 503, 4)] {
        left.store(fails, Relaxed);
        let before = endpoint.count();
        assert_eq!(ask(&scene, "codes", "/").await, Ok(code), "{fails} failures");
        assert_eq!(endpoint.count() - before, asked, "{fails} failures");
        left.store(0, Relaxed);
    }
    // A body that is kept is sent again; one that is larger than what is kept is not.
    for (size, code, asked) in [(60_000, 200, 2), (200_000, 503, 1)] {
        left.store(1, Relaxed);
        let before = endpoint.count();
        let body = "b".repeat(size);
        let post = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n{body}");
        let mut stream = scene.connect("codes").await.unwrap();
        assert_eq!(http1::send(&mut stream, post).await.unwrap().status, code, "{size} bytes");
        let seen = endpoint.requests().split_off(before);
        assert_eq!(seen.len(), asked, "{size} bytes");
        assert!(seen.iter().all(|request| request.text() == body), "{size} bytes arrive whole");
        left.store(0, Relaxed);
    }
}

#[tokio::test]
async fn who_refuses_or_resets_is_passed_over() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    // Nobody listens on the other endpoint.
    let endpoint = Endpoint::start(&scene, "far", |_| status(200));
    scene.offer(Service::http("refusing", endpoint.port)).await;
    for number in 0..20 {
        assert_eq!(ask(&scene, "refusing", "/").await, Ok(200), "request {number}");
    }
    assert_eq!(endpoint.count(), 20);
    // A reset before the response is tried again where the rule says so, and never otherwise.
    let port = scene.port();
    let good = Endpoint::on(&scene, "far", port, |_| status(200));
    let bad = Endpoint::on(&scene, "near", port, |_| vec![Step::Reset]);
    let rules = rule("resetting", "retry: {attempts: 2, backoff: 1ms}");
    scene.offer(Service::http("resetting", port).rules(&rules)).await;
    scene.offer(Service::http("resetting-unruled", port)).await;
    for number in 0..20 {
        assert_eq!(ask(&scene, "resetting", "/").await, Ok(200), "request {number}");
    }
    assert_eq!(good.count(), 20);
    assert!(bad.count() > 0, "some went to the bad one first");
    let (before, mut failed) = (good.count() + bad.count(), 0);
    for _ in 0..20 {
        failed += usize::from(ask(&scene, "resetting-unruled", "/").await == Ok(503));
    }
    assert_eq!(good.count() + bad.count() - before, 20, "each was sent once");
    assert_eq!(good.count(), 40 - failed);
}

#[tokio::test]
async fn a_response_that_has_begun_is_never_asked_for_again() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let dying = Endpoint::start(&scene, "far", |request| {
        let head = b"HTTP/1.1 200 So\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
        let end = if request.path() == "/reset" { Step::Reset } else { Step::Close };
        vec![Step::Send(head), Step::Pause(Duration::from_millis(50)), end]
    });
    let rules = rule("dying", "retry: {codes: [500, 502, 503, 504], attempts: 3, backoff: 1ms}");
    scene.offer(Service::http("dying", dying.port).on(FAR).rules(&rules)).await;
    for path in ["/close", "/reset"] {
        let before = dying.count();
        let mut stream = scene.connect("dying").await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut reader = Reader::new(&mut stream);
        let head = reader.head().await.unwrap().unwrap();
        assert!(head.start.contains("200"), "{head:?}");
        // The caller has to see that the body is not whole.
        let body = reader.body(&head, false).await;
        assert!(body.is_err(), "{path}: {body:?}");
        assert_eq!(dying.count() - before, 1, "{path}");
    }
}

#[tokio::test]
async fn retries_under_a_total_outage_are_a_fifth_of_the_load_and_a_reserve() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let endpoint = Endpoint::start(&scene, "far", |_| status(503));
    let rules = rule("outage", "retry: {codes: [503], attempts: 5, backoff: 1ms}");
    scene.offer(Service::http("outage", endpoint.port).on(FAR).rules(&rules)).await;
    const CLIENTS: usize = 20;
    const EACH: usize = 50;
    let began = Instant::now();
    let client = |_| async {
        let mut stream = scene.connect("outage").await.unwrap();
        for _ in 0..EACH {
            assert_eq!(http1::ask(&mut stream, "/").await.unwrap().status, 503);
        }
    };
    join_all((0..CLIENTS).map(client)).await;
    let (asked, sent) = (CLIENTS * EACH, endpoint.count());
    // Ten retries a second are free, whether they are made at once or not.
    let reserve = 100 * (1 + began.elapsed().as_secs() as usize / 10);
    println!("{asked} requests became {sent} in {:?}", began.elapsed());
    assert!(sent - asked <= asked / 5 + reserve, "{asked} requests became {sent}");
    assert!(sent - asked >= asked / 10, "{asked} requests became {sent}: nothing is retried");
}

#[tokio::test]
async fn what_takes_too_long_is_given_up_and_the_endpoint_told() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let slow = Endpoint::start(&scene, "far", |request| match request.path() {
        "/quick" => status(200),
        _ => vec![Step::Hang],
    });
    let rules = rule("slow", "timeouts: {request: 300ms}");
    scene.offer(Service::http("slow", slow.port).on(FAR).rules(&rules)).await;
    let began = Instant::now();
    assert_eq!(ask(&scene, "slow", "/").await, Ok(504));
    let took = began.elapsed();
    assert!((300..2000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(ask(&scene, "slow", "/quick").await, Ok(200));
    assert_eq!(slow.count(), 2);
    gone(&slow, 1).await;
    // Each try has its own time, and the whole has one as well.
    let rules = rule(
        "tries",
        "timeouts: {request: 2s, backendRequest: 150ms}, retry: {attempts: 2, backoff: 1ms}",
    );
    scene.offer(Service::http("tries", slow.port).on(FAR).rules(&rules)).await;
    let began = Instant::now();
    assert_eq!(ask(&scene, "tries", "/").await, Ok(504));
    let took = began.elapsed();
    assert!((450..1900).contains(&took.as_millis()), "{took:?}");
    assert_eq!(slow.count(), 5);
    gone(&slow, 4).await;
    assert_eq!(
        scene.counted("istio_requests_total", &[("response_flags", "UT")]).await,
        2,
        "both are told as timeouts"
    );
}

#[tokio::test]
async fn a_caller_that_leaves_takes_its_request_along() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let endpoint = Endpoint::start(&scene, "far", |request| match request.path() {
        "/head" => vec![Step::Hang],
        _ => {
            let head = b"HTTP/1.1 200 So\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
            vec![Step::Send(head), Step::Hang]
        }
    });
    scene.offer(Service::http("left", endpoint.port).on(FAR)).await;
    for (number, path) in ["/head", "/body"].iter().enumerate() {
        let mut stream = scene.connect("left").await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        endpoint.asked(number + 1).await;
        if *path == "/body" {
            Reader::new(&mut stream).head().await.unwrap();
        }
        drop(stream);
        let began = Instant::now();
        gone(&endpoint, number + 1).await;
        assert!(began.elapsed() < Duration::from_secs(1), "{path}: {:?}", began.elapsed());
    }
    // In HTTP/2 a caller leaves a request and keeps the connection.
    let mut stream = scene.connect("left").await.unwrap();
    let fields = [(":method", "GET"), (":path", "/head"), (":authority", "x"), (":scheme", "http")];
    let request = [http2::preface(), http2::headers(1, &fields, true)].concat();
    stream.write_all(&request).await.unwrap();
    endpoint.asked(3).await;
    stream.write_all(&http2::reset(1)).await.unwrap();
    gone(&endpoint, 3).await;
    let labels = [("destination_service_name", "left"), ("response_flags", "DC")];
    eventually(|| async {
        match scene.counted("istio_requests_total", &labels).await {
            3 => Ok(()),
            other => Err(format!("{other} are told as left by their callers")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_mirror_changes_no_answer() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let main = Endpoint::start(&scene, "far", |request| answer(200, "", &request.text()));
    let copy = Endpoint::start(&scene, "near", |request| match request.path() {
        "/slow" => vec![Step::Hang],
        "/reset" => vec![Step::Reset],
        _ => status(500),
    });
    scene.offer(Service::http("copies", copy.port).on(&SERVERS[..1])).await;
    let mirror = |share: &str| {
        let to = "backendRef: {name: copies, port: 80}";
        rule(
            "mirrored",
            &format!("filters: [{{type: RequestMirror, requestMirror: {{{to}{share}}}}}]"),
        )
    };
    scene.offer(Service::http("mirrored", main.port).on(FAR).rules(&mirror(""))).await;
    for (number, path) in ["/a", "/slow", "/reset"].iter().enumerate() {
        let began = Instant::now();
        let mut stream = scene.connect("mirrored").await.unwrap();
        let post = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
        let response = http1::send(&mut stream, post).await.unwrap();
        assert_eq!((response.status, response.text()), (200, "body".to_owned()), "{path}");
        assert!(began.elapsed() < Duration::from_secs(1), "{path}: {:?}", began.elapsed());
        let copied = copy.asked(number + 1).await;
        assert_eq!((copied[number].path(), copied[number].text()), (*path, "body".to_owned()));
    }
    scene
        .offer(
            Service::http("mirrored-some", main.port)
                .on(FAR)
                .rules(&mirror(", percent: 20").replace("name: mirrored,", "name: mirrored-some,")),
        )
        .await;
    let before = copy.count();
    let mut stream = scene.connect("mirrored-some").await.unwrap();
    for _ in 0..500 {
        assert_eq!(http1::ask(&mut stream, "/some").await.unwrap().status, 200);
    }
    // Six standard deviations around a hundred.
    let copied = copy.count() - before;
    assert!((46..=154).contains(&copied), "{copied} of 500");
}

#[tokio::test]
async fn a_killed_waypoint_fails_what_it_had_at_once_and_comes_back() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::start().await;
    let endpoint = Endpoint::start(&scene, "far", |request| match request.path() {
        "/slow" => vec![Step::Hang],
        _ => status(200),
    });
    scene.offer(Service::http("kept", endpoint.port).on(FAR)).await;
    // Killed with requests in flight: all of them fail at once instead of hanging, and none is answered wrongly.
    let pid = scene.waypoint_pid().expect("it runs");
    let mut streams = Vec::new();
    for _ in 0..500 {
        let mut stream = scene.connect("kept").await.unwrap();
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        streams.push(stream);
    }
    endpoint.asked(500).await;
    let began = Instant::now();
    scene.run("client", &["kill", "-KILL", &pid.to_string()]).await;
    for stream in &mut streams {
        let answer = Reader::new(stream).response("GET").await;
        assert!(answer.is_err(), "{answer:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let back = eventually(|| async {
        match ask(&scene, "kept", "/").await {
            Ok(200) => Ok(Instant::now()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    println!("served again {:?} after SIGKILL", back - began);
}

#[tokio::test]
async fn scaling_a_waypoint_fails_no_request() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Arc::new(Scene::start().await);
    let endpoint = Endpoint::start(&scene, "far", |request| match request.path() {
        "/slow" => vec![Step::Pause(Duration::from_millis(800)), status(200).remove(0)],
        _ => status(200),
    });
    scene.offer(Service::http("kept", endpoint.port).on(FAR)).await;
    let load = Load::start(&scene);
    for replicas in [2, 1, 3, 1] {
        load.goes_on(100).await;
        scene.scale(replicas).await;
    }
    load.goes_on(100).await;
    let (done, failed) = load.stop().await;
    println!("{done} requests while it was scaled");
    // Without any, the service is refused, and never reached past what would guard it.
    scene.scale(0).await;
    let before = endpoint.count();
    assert!(ask(&scene, "kept", "/").await.is_err());
    assert_eq!(endpoint.count(), before);
    if !failed.is_empty() {
        let node = Component::Ztunnel("node-1".to_owned());
        let log = scene.sandbox.component_log(&node).unwrap_or_default();
        let errors: Vec<&str> = log.lines().filter(|line| line.contains("error")).collect();
        panic!("{} of {done} failed: {failed:#?}\n{errors:#?}", failed.len());
    }
}

#[tokio::test]
async fn rules_change_and_the_controller_is_killed_without_a_failed_request() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Arc::new(Scene::start().await);
    let endpoint = Endpoint::start(&scene, "far", |_| status(200));
    let offer = async |round: u32| {
        let set = format!("set: [{{name: x-round, value: '{round}'}}]");
        let filter = format!("type: ResponseHeaderModifier, responseHeaderModifier: {{{set}}}");
        let rules = rule("kept", &format!("filters: [{{{filter}}}]"));
        scene.offer(Service::http("kept", endpoint.port).on(FAR).rules(&rules)).await;
    };
    let in_force = async |round: u32| {
        let mut stream = scene.connect("kept").await.map_err(|error| error.to_string())?;
        let response = http1::ask(&mut stream, "/").await.map_err(|error| error.to_string())?;
        match response.header("x-round") {
            Some(found) if found == round.to_string() => Ok(()),
            other => Err(format!("{other:?} instead of {round}")),
        }
    };
    offer(0).await;
    let load = Load::start(&scene);
    for round in 1..=10 {
        offer(round).await;
        eventually(|| in_force(round)).await;
        load.goes_on(20).await;
        if round % 5 == 0 {
            scene.sandbox.kill_component(&Component::Controller).await.unwrap();
            load.goes_on(100).await;
            in_force(round).await.unwrap();
        }
    }
    let (done, failed) = load.stop().await;
    assert_eq!(failed, [""; 0], "of {done} requests");
}

/// Clients that ask the service `kept` all the time: some on connections that they keep, some on new ones, one slowly.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(scene: &Arc<Scene>) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            done: Arc::default(),
            failed: Arc::default(),
            clients: Vec::new(),
        };
        for number in 0..6 {
            let (scene, stop) = (scene.clone(), load.stop.clone());
            let (done, failed) = (load.done.clone(), load.failed.clone());
            load.clients.push(tokio::spawn(async move {
                let path = if number == 0 { "/slow" } else { "/" };
                let mut kept = None;
                while !stop.load(Relaxed) {
                    let answer = if number % 2 == 0 {
                        ask(&scene, "kept", path).await
                    } else {
                        again(&scene, &mut kept).await
                    };
                    match answer {
                        Ok(200) => drop(done.fetch_add(1, Relaxed)),
                        other => {
                            failed.lock().expect("it is whole").push(format!("{path}: {other:?}"))
                        }
                    }
                }
            }));
        }
        load
    }

    /// Waits until so many more have been answered.
    async fn goes_on(&self, count: usize) {
        let before = self.done.load(Relaxed);
        eventually(|| async {
            let done = self.done.load(Relaxed) - before;
            if done >= count { Ok(()) } else { Err(format!("{done} of {count} are answered")) }
        })
        .await;
    }

    async fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Relaxed);
        join_all(self.clients).await;
        let failed = std::mem::take(&mut *self.failed.lock().expect("it is whole"));
        (self.done.load(Relaxed), failed)
    }
}

/// Asks on the connection that is kept. One that was closed between two requests, or says that it closes, is replaced:
/// no client that keeps connections can do without that (RFC 9112 9.3.1).
async fn again(scene: &Scene, kept: &mut Option<TcpStream>) -> Result<u16, String> {
    if let Some(mut stream) = kept.take()
        && let Ok(response) = http1::ask(&mut stream, "/").await
    {
        if response.header("connection") != Some("close") {
            *kept = Some(stream);
        }
        return Ok(response.status);
    }
    let mut stream = scene.connect("kept").await.map_err(|error| error.to_string())?;
    let response = http1::ask(&mut stream, "/").await.map_err(|error| error.to_string())?;
    *kept = Some(stream);
    Ok(response.status)
}

async fn gone(endpoint: &Endpoint, count: usize) {
    eventually(|| async {
        let gone = endpoint.seen.gone.load(Relaxed);
        if gone == count { Ok(()) } else { Err(format!("{gone} of {count} have gone")) }
    })
    .await;
}
