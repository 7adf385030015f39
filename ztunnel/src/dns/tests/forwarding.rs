//! Queries that the pod's resolvers answer.

use super::*;

const LABELS: &str = "request_query_type=\"a\",request_protocol=\"udp\",source_canonical_service=\"client\",source_canonical_revision=\"v1\"";

/// A resolver that knows every name.
fn resolver() -> Resolver {
    Resolver::start(|query, _| packet(&addresses(query, 1)))
}

/// A resolver that always answers with this code.
fn refusing(code: ResponseCode) -> Resolver {
    Resolver::start(move |query, _| packet(&refusal(query, code)))
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    let (address, _closed) = bind();
    address
}

#[tokio::test]
async fn names_outside_the_mesh() {
    let resolver = resolver();
    let proxy = Proxy::start(vec![resolver.address]).await;
    let dig = proxy.dig("www.example. A").await;
    assert!(dig.contains("flags: qr rd ra;"), "not authoritative: {dig}");
    assert!(dig.contains("192.0.2.0") && dig.contains("NOERROR"), "{dig}");
    assert_eq!(proxy.dig("+tcp +short other.example. A").await.trim(), "192.0.2.0");
    assert!(proxy.dig("web. MX").await.contains("NOERROR"), "other types too");
    assert_eq!(resolver.queries(), 3);
    let metric = |name: &str| proxy.metric(&format!("istio_dns_{name}{{{LABELS}}}"));
    assert_eq!(metric("upstream_requests_total"), 1.0);
    assert_eq!(metric("upstream_failures_total"), 0.0);
    assert_eq!(metric("upstream_request_duration_seconds_count"), 1.0);
    let bucket =
        format!("istio_dns_upstream_request_duration_seconds_bucket{{le=\"5.0\",{LABELS}}}");
    assert_eq!(proxy.metric(&bucket), 1.0);
}

#[tokio::test]
async fn the_query_arrives_as_it_was() {
    let query = Arc::new(Mutex::new(None));
    let seen = query.clone();
    let resolver = Resolver::start(move |query, _| {
        *seen.lock() = Some(query.clone());
        packet(&addresses(query, 1))
    });
    let proxy = Proxy::start(vec![resolver.address]).await;
    proxy.dig("+dnssec +cdflag +bufsize=1400 +subnet=192.0.2.0/24 WWW.Example. A").await;
    let query = query.lock().take().unwrap();
    assert_eq!(query.queries[0].name().to_ascii(), "WWW.Example.");
    assert!(query.metadata.checking_disabled && query.metadata.recursion_desired);
    let edns = query.edns.unwrap();
    assert!(edns.flags().dnssec_ok);
    assert_eq!(edns.max_payload(), 1400);
    assert_eq!(edns.options().as_ref().len(), 2, "subnet and cookie");
}

#[tokio::test]
async fn the_resolvers_code_is_passed_on() {
    for (code, text) in [
        (ResponseCode::NXDomain, "NXDOMAIN"),
        (ResponseCode::Refused, "REFUSED"),
        (ResponseCode::ServFail, "SERVFAIL"),
        (ResponseCode::NotImp, "NOTIMP"),
    ] {
        let resolver = refusing(code);
        let proxy = Proxy::start(vec![resolver.address]).await;
        let dig = proxy.dig("www.example. A").await;
        assert!(dig.contains(&format!("status: {text}")), "{dig}");
        assert_eq!(resolver.queries(), 1, "{text}: asked once");
    }
}

#[tokio::test]
async fn answers_are_kept_for_their_time_to_live() {
    let resolver = resolver();
    let proxy = Proxy::start(vec![resolver.address]).await;
    for _ in 0..3 {
        assert_eq!(proxy.dig("+short www.example. A").await.trim(), "192.0.2.0");
    }
    let dig = proxy.dig("WWW.example. A").await;
    assert!(dig.contains("flags: qr rd ra;") && dig.contains("WWW.example."), "{dig}");
    assert_eq!(resolver.queries(), 1);
    proxy.dig("other.example. A").await;
    assert_eq!(resolver.queries(), 2);
    assert_eq!(proxy.metric(&format!("istio_dns_requests_total{{{LABELS}}}")), 5.0);
    assert_eq!(proxy.metric(&format!("istio_dns_upstream_requests_total{{{LABELS}}}")), 2.0);
}

#[tokio::test]
async fn what_does_not_exist_is_kept_if_the_zone_says_how_long() {
    let with_soa = Resolver::start(|query, _| packet(&negative(query, true)));
    let without = Resolver::start(|query, _| packet(&negative(query, false)));
    for (resolver, queries) in [(with_soa, 1), (without, 2)] {
        let proxy = Proxy::start(vec![resolver.address]).await;
        for _ in 0..2 {
            let dig = proxy.dig("none.example. A").await;
            assert!(dig.contains("status: NXDOMAIN"), "{dig}");
        }
        assert_eq!(resolver.queries(), queries);
    }
}

fn negative(query: &Message, soa: bool) -> Message {
    let mut response = refusal(query, ResponseCode::NXDomain);
    if soa {
        let zone = Name::from_ascii("example.").unwrap();
        let soa = hickory_proto::rr::rdata::SOA::new(zone.clone(), zone.clone(), 1, 2, 3, 4, 10);
        response.add_authority(Record::from_rdata(zone, 20, RData::SOA(soa)));
    }
    response
}

#[tokio::test]
async fn the_next_server_is_asked() {
    let dead = nobody();
    let silent = Resolver::start(|_, _| Vec::new());
    let failing = refusing(ResponseCode::ServFail);
    let good = resolver();
    for first in [dead, silent.address, failing.address] {
        let proxy = Proxy::start(vec![first, good.address]).await;
        assert_eq!(proxy.dig("+short www.example. A").await.trim(), "192.0.2.0", "{first}");
        assert_eq!(proxy.metric(&format!("istio_dns_upstream_failures_total{{{LABELS}}}")), 0.0);
    }
    assert_eq!((silent.queries(), failing.queries(), good.queries()), (1, 1, 3));
}

#[tokio::test]
async fn a_lost_query_is_repeated() {
    let lost = std::sync::atomic::AtomicBool::new(false);
    let resolver = Resolver::start(move |query, _| {
        let first = !lost.swap(true, std::sync::atomic::Ordering::Relaxed);
        if first { Vec::new() } else { packet(&addresses(query, 1)) }
    });
    let proxy = Proxy::start(vec![resolver.address]).await;
    assert_eq!(proxy.dig("+short www.example. A").await.trim(), "192.0.2.0");
    assert_eq!(resolver.queries(), 2);
}

#[tokio::test]
async fn no_server_that_answers_is_a_server_failure() {
    for servers in [vec![], vec![nobody()], vec![nobody(), nobody()]] {
        let proxy = Proxy::start(servers.clone()).await;
        let dig = proxy.dig("www.example. A").await;
        assert!(dig.contains("status: SERVFAIL"), "{servers:?}: {dig}");
        assert_eq!(proxy.metric(&format!("istio_dns_upstream_failures_total{{{LABELS}}}")), 1.0);
    }
}

#[tokio::test]
async fn long_answers_come_over_tcp() {
    let resolver = Resolver::start(|query, tcp| {
        let mut response = addresses(query, if tcp { 150 } else { 0 });
        response.metadata.truncation = !tcp;
        packet(&response)
    });
    let proxy = Proxy::start(vec![resolver.address]).await;
    let count = |dig: String| dig.lines().count();
    assert_eq!(count(proxy.dig("+bufsize=4096 +ignore +short a.example. A").await), 150);
    assert_eq!(resolver.queries(), 2, "UDP, then TCP");
    let cut = proxy.dig("+noedns +ignore b.example. A").await;
    assert!(cut.contains(" tc ") && cut.contains("ANSWER: 0"), "{cut}");
    assert_eq!(count(proxy.dig("+noedns +short b.example. A").await), 150);
    assert_eq!(resolver.queries(), 4, "the second question was answered from memory");
}

#[tokio::test]
async fn forged_answers_are_not_believed() {
    let resolver = Resolver::start(move |query, _| {
        let good = addresses(query, 1);
        let mut wrong_id = addresses(query, 2);
        wrong_id.metadata.id = !query.metadata.id;
        let mut wrong_name = addresses(query, 3);
        wrong_name.queries[0].set_name(Name::from_ascii("evil.example.").unwrap());
        let mut wrong_kind = addresses(query, 4);
        wrong_kind.metadata.message_type = hickory_proto::op::MessageType::Query;
        let forged = [wrong_id, wrong_name, wrong_kind].map(|message| message.to_vec().unwrap());
        forged.into_iter().chain([b"no dns".to_vec(), good.to_vec().unwrap()]).collect()
    });
    let proxy = Proxy::start(vec![resolver.address]).await;
    assert_eq!(proxy.dig("+short www.example. A").await.trim(), "192.0.2.0");
    assert_eq!(proxy.metric("ambit_dns_malformed_packets_total{sender=\"server\"}"), 4.0);
}

#[tokio::test]
async fn only_the_server_that_was_asked_may_answer() {
    let asked = Arc::new(Mutex::new(None));
    let note = asked.clone();
    let resolver = Resolver::start(move |query, _| {
        let first = note.lock().replace(query.clone()).is_none();
        if first { Vec::new() } else { packet(&addresses(query, 1)) }
    });
    let proxy = Proxy::start(vec![resolver.address]).await;
    let asking = proxy.spawn_dig("+short www.example. A");
    while asked.lock().is_none() {
        tokio::task::yield_now().await;
    }
    let (query, (_, client)) = (asked.lock().clone().unwrap(), resolver.seen.lock()[0]);
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.send_to(&packet(&addresses(&query, 3))[0], client).await.unwrap();
    assert_eq!(asking.await.unwrap().trim(), "192.0.2.0", "that of the repeated query");
}

#[tokio::test]
async fn ids_and_ports_cannot_be_guessed() {
    let resolver = resolver();
    let proxy = Proxy::start(vec![resolver.address]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    const QUERIES: u16 = 50;
    for number in 0..QUERIES {
        let mut query = Message::query();
        query.metadata.id = 7;
        let name = Name::from_ascii(format!("n{number}.example.")).unwrap();
        query.add_query(hickory_proto::op::Query::query(name, hickory_proto::rr::RecordType::A));
        socket.send_to(&query.to_vec().unwrap(), proxy.address).await.unwrap();
        let mut reply = [0; 512];
        let length =
            tokio::time::timeout(DEADLINE, socket.recv(&mut reply)).await.unwrap().unwrap();
        assert_eq!(Message::from_vec(&reply[..length]).unwrap().metadata.id, 7);
    }
    let seen = resolver.seen.lock();
    let distinct = |what: &dyn Fn(&(u16, SocketAddr)) -> u16| {
        seen.iter().map(what).collect::<HashSet<_>>().len()
    };
    assert_eq!(seen.len(), usize::from(QUERIES));
    assert!(distinct(&|(id, _)| *id) > 45, "{seen:?}");
    assert!(distinct(&|(_, peer)| peer.port()) > 45, "{seen:?}");
}

#[tokio::test]
async fn queries_under_way_are_bounded() {
    let silent = Resolver::start(|_, _| Vec::new());
    let proxy = Proxy::start(vec![silent.address]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut refused = None;
    for number in 0..2000u16 {
        let mut query = Message::query();
        query.metadata.id = number;
        let name = Name::from_ascii(format!("n{number}.example.")).unwrap();
        query.add_query(hickory_proto::op::Query::query(name, hickory_proto::rr::RecordType::A));
        socket.send_to(&query.to_vec().unwrap(), proxy.address).await.unwrap();
        let mut reply = [0; 512];
        let soon = tokio::time::timeout(Duration::from_millis(2), socket.recv(&mut reply)).await;
        if let Ok(length) = soon {
            let reply = Message::from_vec(&reply[..length.unwrap()]).unwrap();
            assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
            refused = Some(number);
            break;
        }
    }
    let refused = refused.expect("all were taken");
    assert!(refused >= 200, "{refused} were taken");
    assert_eq!(proxy.dig("+short web. A").await.trim(), "10.96.0.1", "services need no resolver");
}

#[tokio::test]
async fn what_has_arrived_is_answered_before_the_pod_leaves() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let resolver = Resolver::start(move |query, _| {
        let _ = held.lock().recv_timeout(Duration::from_millis(500));
        packet(&addresses(query, 1))
    });
    let proxy = Proxy::start(vec![resolver.address]).await;
    let asking = proxy.spawn_dig("+short www.example. A");
    while resolver.queries() == 0 {
        tokio::task::yield_now().await;
    }
    proxy.closing.cancel();
    release.send(()).unwrap();
    assert_eq!(asking.await.unwrap().trim(), "192.0.2.0");
    tokio::time::timeout(DEADLINE, proxy.task).await.unwrap().unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(proxy.address).await.is_err());
}
