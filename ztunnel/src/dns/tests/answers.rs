//! Answers from the state of the mesh.

use super::*;

/// No resolver: what is forwarded fails.
async fn proxy() -> Proxy {
    Proxy::start(Vec::new()).await
}

fn records(dig: &str) -> Vec<&str> {
    let mut records: Vec<_> = dig.lines().filter(|line| !line.is_empty()).collect();
    records.sort_unstable();
    records
}

#[tokio::test]
async fn services_over_udp_and_tcp() {
    let proxy = proxy().await;
    for (transport, label) in [("+notcp", "udp"), ("+tcp", "tcp")] {
        for name in ["web.", "web.ns.", "web.ns.svc.cluster.local.", "WEB.ns.svc."] {
            let dig = proxy.dig(&format!("{transport} {name} A")).await;
            assert!(dig.contains("status: NOERROR"), "{dig}");
            assert!(dig.contains("flags: qr aa rd ra;"), "{dig}");
            let words: Vec<_> = dig.split_whitespace().collect();
            let answer = [name, "30", "IN", "A", "10.96.0.1"];
            assert!(words.windows(5).any(|window| window == answer), "{dig}");
        }
        let labels = format!(
            "request_query_type=\"a\",request_protocol=\"{label}\",source_canonical_service=\"client\",source_canonical_revision=\"v1\""
        );
        assert_eq!(proxy.metric(&format!("istio_dns_requests_total{{{labels}}}")), 4.0);
    }
}

#[tokio::test]
async fn another_family_is_an_empty_answer() {
    let dig = proxy().await.dig("web. AAAA").await;
    assert!(dig.contains("status: NOERROR") && dig.contains("ANSWER: 0"), "{dig}");
    assert!(dig.contains(" aa "), "{dig}");
}

#[tokio::test]
async fn search_domains() {
    let mut proxy = proxy().await;
    let outside = Service { hostname: "www.example.com".into(), ..service("www", &["10.96.0.2"]) };
    proxy.apply([outside.into()]);
    let dig = proxy.dig("+short www.example.com.ns.svc.cluster.local. A").await;
    assert_eq!(records(&dig), ["10.96.0.2", "www.example.com."]);
    // As a pod's resolver library does it.
    let dig = proxy.dig("+short +domain=svc.cluster.local +ndots=5 web.ns A").await;
    assert_eq!(records(&dig), ["10.96.0.1"]);
}

#[tokio::test]
async fn edns_is_echoed() {
    let proxy = proxy().await;
    let dig = proxy.dig("+noedns web. A").await;
    assert!(!dig.contains("EDNS"), "{dig}");
    let dig = proxy.dig("+bufsize=1400 web. A").await;
    assert!(dig.contains("EDNS: version: 0, flags:; udp: 1400"), "{dig}");
    let dig = proxy.dig("+bufsize=100 web. A").await;
    assert!(dig.contains("udp: 512"), "{dig}");
    let dig = proxy.dig("+edns=1 +noednsnegotiation web. A").await;
    assert!(dig.contains("status: BADVERS"), "{dig}");
}

#[tokio::test]
async fn other_operations_are_not_implemented() {
    let proxy = proxy().await;
    for operation in ["status", "notify", "update"] {
        let dig = proxy.dig(&format!("+opcode={operation} web. A")).await;
        assert!(dig.contains("status: NOTIMP"), "{dig}");
    }
}

#[tokio::test]
async fn many_addresses_are_shuffled_and_fit_or_are_asked_for_over_tcp() {
    let mut proxy = proxy().await;
    let headless = service("db", &[]);
    let endpoints = (0..100).map(|last| {
        Update::from(Workload {
            uid: format!("db-{last}").into(),
            workload_ips: vec![[10, 1, 0, last].into()],
            services: [(headless.key(), [(80, 80)].into())].into(),
            ..Workload::default()
        })
    });
    let updates: Vec<_> = endpoints.chain([headless.clone().into()]).collect();
    proxy.apply(updates);

    let cut = proxy.dig("+noedns +ignore db. A").await;
    assert!(cut.contains("flags: qr aa tc rd ra;") && cut.contains("ANSWER: 0"), "{cut}");
    let over_tcp = proxy.dig("+noedns +short db. A").await;
    let over_udp = proxy.dig("+bufsize=4096 +ignore +short db. A").await;
    assert_eq!(records(&over_tcp).len(), 100);
    assert_eq!(records(&over_tcp), records(&over_udp));
    assert_ne!(over_tcp, over_udp, "a hundred addresses in the same order twice");
}

#[tokio::test]
async fn packets_that_are_no_dns_are_counted_and_hurt_nobody() {
    let proxy = proxy().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let long = [0xff; 2000];
    for packet in [&b""[..], b"x", &[0; 12], &[0xff; 12], &long] {
        socket.send_to(packet, proxy.address).await.unwrap();
    }
    let cut_query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web";
    socket.send_to(cut_query, proxy.address).await.unwrap();
    let mut codes = Vec::new();
    for _ in 0..2 {
        let mut reply = [0; 512];
        let length =
            tokio::time::timeout(DEADLINE, socket.recv(&mut reply)).await.unwrap().unwrap();
        codes.push(Message::from_vec(&reply[..length]).unwrap().metadata.response_code);
    }
    assert_eq!(codes, [ResponseCode::FormErr; 2], "a query without a question, and one cut short");
    assert_eq!(proxy.dig("+short web. A").await.trim(), "10.96.0.1");
    assert_eq!(proxy.metric("ambit_dns_malformed_packets_total{sender=\"client\"}"), 5.0);
}

#[tokio::test]
async fn a_query_waits_for_its_pod_to_become_known() {
    let mut proxy = Proxy::start_without_state(Vec::new());
    proxy.apply([service("web", &["10.96.0.1"]).into()]);
    let asking = proxy.spawn_dig("+short web. A");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asking.is_finished(), "{:?}", asking.await);
    proxy.apply([client().into()]);
    proxy.sync();
    assert_eq!(asking.await.unwrap().trim(), "10.96.0.1");
}

#[tokio::test]
async fn an_unknown_pod_gets_a_server_failure() {
    let mut proxy = Proxy::start_without_state(Vec::new());
    proxy.apply([service("web", &["10.96.0.1"]).into()]);
    proxy.sync();
    let dig = proxy.dig("web. A").await;
    assert!(dig.contains("status: SERVFAIL"), "{dig}");
    let labels = "request_query_type=\"a\",request_protocol=\"udp\",source_canonical_service=\"unknown\",source_canonical_revision=\"unknown\"";
    assert_eq!(proxy.metric(&format!("istio_dns_requests_total{{{labels}}}")), 1.0);
}

#[tokio::test]
async fn queued_queries_are_answered_before_the_pod_leaves() {
    let proxy = proxy().await;
    assert_eq!(proxy.dig("+short web. A").await.trim(), "10.96.0.1", "it is running");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    const QUERIES: u16 = 20;
    for id in 0..QUERIES {
        let mut query = Message::query();
        query.metadata.id = id;
        let name = Name::from_ascii("web.").unwrap();
        query.add_query(hickory_proto::op::Query::query(name, hickory_proto::rr::RecordType::A));
        // Nothing is awaited, so that the proxy does not run in between.
        socket.send_to(&query.to_vec().unwrap(), proxy.address).unwrap();
    }
    proxy.closing.cancel();
    socket.set_nonblocking(true).unwrap();
    let socket = UdpSocket::from_std(socket).unwrap();
    let mut answered = HashSet::new();
    while answered.len() < QUERIES.into() {
        let mut reply = [0; 512];
        let length =
            tokio::time::timeout(DEADLINE, socket.recv(&mut reply)).await.unwrap().unwrap();
        answered.insert(Message::from_vec(&reply[..length]).unwrap().metadata.id);
    }
    tokio::time::timeout(DEADLINE, proxy.task).await.unwrap().unwrap().unwrap();
}
