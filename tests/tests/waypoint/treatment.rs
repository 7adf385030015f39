//! What DestinationRules and VirtualServices do to requests: limits, endpoints that are left out, faults, tries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ambit_tests::{eventually, missing};
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::endpoint::{Endpoint, Step, status};
use super::http1;
use super::scene::{SERVERS, Scene, Service};

const FAR: &[&str] = &[SERVERS[1]];
const ALL: usize = 12;

/// An endpoint that answers only when `turns` has one for it.
fn waiting(scene: &Scene, turns: &Arc<Semaphore>) -> Endpoint {
    let turns = turns.clone();
    Endpoint::start(scene, "far", move |_| {
        let mut steps = vec![Step::Turn(turns.clone())];
        steps.extend(status(200));
        steps
    })
}

/// So many requests at once, each on a connection of its own.
fn at_once(scene: &Arc<Scene>, service: &'static str, count: usize) -> Vec<JoinHandle<u16>> {
    let ask = |_| {
        let scene = scene.clone();
        tokio::spawn(async move {
            let mut stream = scene.connect(service).await.unwrap();
            http1::ask(&mut stream, "/").await.unwrap().status
        })
    };
    (0..count).map(ask).collect()
}

/// Waits until so many have been answered.
async fn answered(asked: &[JoinHandle<u16>], count: usize) {
    eventually(|| async {
        let done = asked.iter().filter(|one| one.is_finished()).count();
        if done == count { Ok(()) } else { Err(format!("{done} are answered, not {count}")) }
    })
    .await;
}

/// How many were answered by each of 200 and 503.
async fn statuses(asked: Vec<JoinHandle<u16>>) -> (usize, usize) {
    let all: Vec<u16> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
    let of = |status: u16| all.iter().filter(|code| **code == status).count();
    (of(200), of(503))
}

#[tokio::test]
async fn what_is_more_than_a_destination_may_have_is_refused() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let turns = Arc::new(Semaphore::new(0));
    let endpoint = waiting(&scene, &turns);
    scene.offer(Service::http("full", endpoint.port).on(FAR)).await;
    let policy = "{connectionPool: {http: {http2MaxRequests: 3}}}";
    scene.treat("full", policy, |told| told["limits"]["requests"] == 3).await;
    let asked = at_once(&scene, "full", ALL);
    endpoint.asked(3).await;
    answered(&asked, ALL - 3).await;
    turns.add_permits(ALL);
    assert_eq!(statuses(asked).await, (3, ALL - 3));
    assert_eq!(endpoint.count(), 3);

    // Two connections, and three requests that wait for one.
    let turns = Arc::new(Semaphore::new(0));
    let endpoint = waiting(&scene, &turns);
    scene.offer(Service::http("queued", endpoint.port).on(FAR)).await;
    let policy = "{connectionPool: {tcp: {maxConnections: 2}, http: {http1MaxPendingRequests: 3}}}";
    scene.treat("queued", policy, |told| told["limits"]["pending"] == 3).await;
    // Who opens a connection waits for one as well, so those two come first.
    let mut asked = at_once(&scene, "queued", 2);
    endpoint.asked(2).await;
    asked.extend(at_once(&scene, "queued", ALL - 2));
    answered(&asked, ALL - 5).await;
    // The third may be there before the endpoint has noticed that the first is gone, but not before that is let go.
    assert_eq!((endpoint.count(), endpoint.seen.open.load(Relaxed)), (2, 2));
    turns.add_permits(ALL);
    assert_eq!(statuses(asked).await, (5, ALL - 5));
    assert_eq!(endpoint.count(), 5);
    for (service, refused) in [("full", ALL - 3), ("queued", ALL - 5)] {
        let labels = [("destination_service_name", service), ("response_flags", "UO")];
        assert_eq!(scene.counted("istio_requests_total", &labels).await, refused as u64);
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_out_and_taken_back() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let (port, sick) = (scene.port(), Arc::new(AtomicBool::new(true)));
    let fails = sick.clone();
    let near = Endpoint::on(&scene, "near", port, move |_| {
        status(if fails.load(Relaxed) { 503 } else { 200 })
    });
    let far = Endpoint::on(&scene, "far", port, |_| status(200));
    scene.offer(Service::http("sick", port)).await;
    let policy = "{outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 4s, maxEjectionPercent: 100}}";
    scene.treat("sick", policy, |told| told["outlierDetection"] == true).await;
    let mut stream = scene.connect("sick").await.unwrap();
    let mut failed = 0;
    while near.count() < 3 {
        failed += usize::from(http1::ask(&mut stream, "/").await.unwrap().status == 503);
        assert!(far.count() < 200, "the near one is never chosen");
    }
    let ejected = Instant::now();
    // Another service of the same pods is no reason to forget it.
    scene.offer(Service::http("sick-too", port)).await;
    for _ in 0..100 {
        failed += usize::from(http1::ask(&mut stream, "/").await.unwrap().status == 503);
    }
    assert!(ejected.elapsed() < Duration::from_secs(4), "too slow to tell");
    assert_eq!((failed, near.count()), (3, 3));
    sick.store(false, Relaxed);
    while near.count() == 3 {
        assert_eq!(http1::ask(&mut stream, "/").await.unwrap().status, 200);
        assert!(ejected.elapsed() < Duration::from_secs(20), "it never comes back");
    }
    assert!(ejected.elapsed() >= Duration::from_millis(3900), "{:?}", ejected.elapsed());
}

/// A client that sends bodies that are none cannot have an endpoint left out.
#[tokio::test]
async fn no_client_can_have_an_endpoint_left_out() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let endpoint = Endpoint::start(&scene, "far", |_| status(200));
    scene.offer(Service::http("framed", endpoint.port).on(FAR)).await;
    let policy = "{outlierDetection: {consecutive5xxErrors: 1, consecutiveGatewayErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 100}}";
    scene.treat("framed", policy, |told| told["outlierDetection"] == true).await;
    for _ in 0..5 {
        let mut stream = scene.connect("framed").await.unwrap();
        let bad =
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\nzz\r\n";
        let answer = http1::send(&mut stream, bad).await.map(|response| response.status);
        assert!(matches!(answer, Ok(400) | Err(_)), "{answer:?}");
    }
    assert_eq!(scene.counted("ambit_waypoint_endpoint_ejections_total", &[]).await, 0);
    let mut stream = scene.connect("framed").await.unwrap();
    assert_eq!(http1::ask(&mut stream, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn faults_hit_the_share_that_is_asked_for() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let endpoint = Endpoint::start(&scene, "far", |_| status(200));
    let rules = "{fault: {delay: {percentage: {value: 20}, fixedDelay: 100ms}, \
                 abort: {percentage: {value: 10}, httpStatus: 418}}, route: [{destination: {host: faulty}}]}";
    scene.offer(Service::http("faulty", endpoint.port).on(FAR).http_rules(rules)).await;
    const CLIENTS: usize = 8;
    const EACH: usize = 100;
    let client = |_| async {
        let mut stream = scene.connect("faulty").await.unwrap();
        let (mut slow, mut aborted) = (0, 0);
        for _ in 0..EACH {
            let began = Instant::now();
            let code = http1::ask(&mut stream, "/").await.unwrap().status;
            slow += usize::from(began.elapsed() >= Duration::from_millis(100));
            aborted += usize::from(code == 418);
            assert!([200, 418].contains(&code), "{code}");
        }
        (slow, aborted)
    };
    let counts = join_all((0..CLIENTS).map(client)).await;
    let slow: usize = counts.iter().map(|(slow, _)| slow).sum();
    let aborted: usize = counts.iter().map(|(_, aborted)| aborted).sum();
    println!("of {} requests {slow} were late and {aborted} aborted", CLIENTS * EACH);
    // Six standard deviations around 160 and 80; on a busy machine others are late as well.
    assert!((92..=400).contains(&slow), "{slow} are late");
    assert!((29..=131).contains(&aborted), "{aborted} are aborted");
    assert_eq!(endpoint.count(), CLIENTS * EACH - aborted);
    let labels = [("destination_service_name", "faulty"), ("response_flags", "FI")];
    assert_eq!(scene.counted("istio_requests_total", &labels).await, aborted as u64);
}

#[tokio::test]
async fn a_try_that_takes_too_long_is_made_with_another_endpoint() {
    if missing(&[]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let port = scene.port();
    let near = Endpoint::on(&scene, "near", port, |_| vec![Step::Hang]);
    let far = Endpoint::on(&scene, "far", port, |_| status(200));
    let rules = "{retries: {attempts: 2, perTryTimeout: 150ms, retryOn: 'reset,connect-failure'}, \
                 route: [{destination: {host: hanging}}]}";
    scene.offer(Service::http("hanging", port).http_rules(rules)).await;
    for _ in 0..20 {
        let began = Instant::now();
        let mut stream = scene.connect("hanging").await.unwrap();
        assert_eq!(http1::ask(&mut stream, "/").await.unwrap().status, 200);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    assert_eq!(far.count(), 20);
    assert!(near.count() > 0, "the near one is never chosen");
    eventually(|| async {
        let gone = near.seen.gone.load(Relaxed);
        if gone == near.count() { Ok(()) } else { Err(format!("{gone} of {}", near.count())) }
    })
    .await;
}
