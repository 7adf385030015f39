//! Conversations over real sockets, with peers that behave and peers that do not.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use ambit_net::PacketSocket;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::message::{decode_answer, decode_hello, encode_answer, encode_hello};

fn some_fd() -> OwnedFd {
    File::open("/proc/self/ns/net").unwrap().into()
}

fn inode(fd: impl AsFd) -> u64 {
    nix::sys::stat::fstat(fd).unwrap().st_ino
}

fn add(uid: &str, dns: Option<DnsConfig>) -> Request {
    let info = WorkloadInfo {
        name: "cart".into(),
        namespace: "shop".into(),
        service_account: "sa".into(),
        dns,
    };
    Request::Add { uid: uid.into(), info, netns: some_fd() }
}

fn keep(uid: &str) -> Request {
    Request::Keep { uid: uid.into() }
}

fn del(uid: &str) -> Request {
    Request::Del { uid: uid.into() }
}

/// A request without its descriptor, for comparing.
fn content<N>(request: Request<N>) -> Request<()> {
    match request {
        Request::Add { uid, info, .. } => Request::Add { uid, info, netns: () },
        Request::Keep { uid } => Request::Keep { uid },
        Request::Del { uid } => Request::Del { uid },
        Request::SnapshotSent => Request::SnapshotSent,
    }
}

/// A server, a connection to it, and that connection's other end as a bare socket.
async fn raw_peer(dir: &TempDir) -> (Connection, PacketSocket) {
    let path = dir.path().join("z.sock");
    let mut server = Server::bind(&path).unwrap();
    let peer = PacketSocket::connect(&path).unwrap();
    (server.accept().await.unwrap(), peer)
}

/// A client, and the agent's end of its connection as a bare socket.
async fn raw_agent(dir: &TempDir) -> (Client, PacketSocket) {
    let path = dir.path().join("z.sock");
    let listener = PacketSocket::listen(&path, 1).unwrap();
    let client = Client::connect(&path).await.unwrap();
    let agent = listener.accept().await.unwrap();
    let mut buffer = [0; 16];
    let hello = agent.recv(&mut buffer).await.unwrap();
    assert_eq!(buffer.get(..hello.length).unwrap(), [0x08, 0x01]);
    (client, agent)
}

#[tokio::test]
async fn a_snapshot_and_what_follows() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("z.sock");
    let mut server = Server::bind(&path).unwrap();
    let ztunnel = tokio::spawn(async move {
        let mut client = Client::connect(&path).await.unwrap();
        let mut seen = Vec::new();
        loop {
            let request = match client.recv().await {
                Ok(request) => request,
                Err(error) => break (error, seen),
            };
            let refuse = request.uid() == Some("bad");
            if let Request::Add { netns, .. } = &request {
                assert_eq!(inode(netns), inode(some_fd()));
            }
            seen.push(content(request));
            client.ack(if refuse { Err("cannot bind") } else { Ok(()) }).await.unwrap();
        }
    });
    let dns = DnsConfig {
        nameservers: vec!["10.96.0.10".parse().unwrap(), "2001:db8::a".parse().unwrap()],
        searches: vec!["shop.svc.cluster.local".into()],
    };
    let mut connection = server.accept().await.unwrap();
    assert_eq!(connection.hello().await.unwrap(), 1);
    let requests =
        [add("u1", Some(dns)), keep("u2"), Request::SnapshotSent, add("bad", None), del("u1")];
    for request in &requests {
        match connection.request(request).await {
            Ok(dropped) => assert_eq!(dropped, Dropped::default()),
            Err(error) => {
                assert_eq!(request.uid(), Some("bad"));
                assert!(matches!(&error, Error::Rejected(text) if text == "cannot bind"));
                assert!(error.leaves_connection_usable());
            }
        }
    }
    drop(connection);
    let (end, seen) = ztunnel.await.unwrap();
    assert!(matches!(end, Error::Closed), "{end:?}");
    assert_eq!(seen, requests.map(content));
}

#[test]
fn the_wire_is_what_other_proxies_speak() {
    assert_eq!(encode_hello(), [0x08, 0x01]);
    assert_eq!(encode_answer(Ok(())), [0x0a, 0x00]);
    assert_eq!(encode_answer(Err("no")), [0x0a, 0x04, 0x0a, 0x02, b'n', b'o']);
    for (request, expected) in [
        (Request::SnapshotSent, &b"\x1a\x00"[..]),
        (keep("u"), b"\x2a\x03\x0a\x01u"),
        (del("u"), b"\x12\x03\x12\x01u"),
        (add("u", None), b"\x0a\x15\x0a\x01u\x12\x10\x0a\x04cart\x12\x04shop\x1a\x02sa"),
    ] {
        assert_eq!(request.encode().unwrap().0, expected, "{request:?}");
    }
}

#[test]
fn resolver_configuration_gives_way_to_the_limit() {
    let searches = |count: usize, length: usize| {
        (0..count).map(|i| format!("{i:0length$}")).collect::<Vec<_>>()
    };
    let nameservers = |count: u8| (0..count).map(|i| [10, 0, 0, i].into()).collect::<Vec<_>>();
    for (uid, dns_of, kept) in [
        (36, (3, 6, 60), (3, 6)),
        // The end of the search list goes first.
        (36, (3, 6, 250), (3, 3)),
        (36, (3, 1, 1000), (3, 0)),
        (900, (3, 6, 60), (3, 1)),
        (930, (3, 6, 60), (3, 0)),
        (980, (3, 6, 60), (1, 0)),
        (990, (3, 6, 60), (0, 0)),
    ] {
        let dns = DnsConfig {
            nameservers: nameservers(dns_of.0),
            searches: searches(dns_of.1, dns_of.2),
        };
        let request = add(&"u".repeat(uid), Some(dns.clone()));
        let (packet, dropped) = request.encode().unwrap();
        assert!(packet.len() <= MAX_PACKET);
        let case = (uid, dns_of);
        assert_eq!(dropped.nameservers + kept.0, dns.nameservers.len(), "{case:?}");
        assert_eq!(dropped.searches + kept.1, dns.searches.len(), "{case:?}");
        let Request::Add { info, .. } = Request::decode(&packet, vec![some_fd()]).unwrap() else {
            unreachable!()
        };
        let left = info.dns.unwrap_or_default();
        assert_eq!(left.nameservers, dns.nameservers[..kept.0], "{case:?}");
        assert_eq!(left.searches, dns.searches[..kept.1], "{case:?}");
    }
    let too_long = add(&"u".repeat(MAX_PACKET), None).encode().unwrap_err();
    assert!(matches!(too_long, Error::TooLarge(size) if size > MAX_PACKET));
}

#[test]
fn name_servers_that_are_no_addresses_are_left_out() {
    use ambit_proto::workload::zds::{DnsConfig, WorkloadInfo as Wire};
    let nameservers = ["10.0.0.1", "fe80::1%eth0", "", "::1"].map(String::from).to_vec();
    let dns = Some(DnsConfig { nameservers, searches: vec![] });
    let info = WorkloadInfo::from(Wire { dns, ..Wire::default() });
    let expected: [std::net::IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    assert_eq!(info.dns.unwrap().nameservers, expected);
}

#[test]
fn a_long_refusal_is_cut_between_characters() {
    let text = "é".repeat(MAX_PACKET);
    let packet = encode_answer(Err(&text));
    assert!(packet.len() <= MAX_PACKET && packet.len() > MAX_PACKET - 20);
    let cut = decode_answer(&packet).unwrap().unwrap();
    assert!(text.starts_with(&cut));
    // An empty reason must not turn into success.
    assert!(decode_answer(&encode_answer(Err(""))).unwrap().is_some());
}

#[tokio::test]
async fn a_ztunnel_refuses_what_makes_no_sense() {
    let dir = TempDir::new().unwrap();
    let added = add("u", None).encode().unwrap().0;
    let deleted = del("u").encode().unwrap().0;
    for (packet, descriptor, reason) in [
        (added.clone(), false, "violation"),
        (deleted, true, "violation"),
        (keep("").encode().unwrap().0, false, "violation"),
        // An added pod without info, a request without content, and none at all.
        (b"\x0a\x03\x0a\x01u".to_vec(), true, "violation"),
        (b"\x22\x00".to_vec(), false, "violation"),
        (b"\x0a\xff\xff\xff\xff\x0f".to_vec(), false, "malformed"),
        (vec![0xff; 100], true, "malformed"),
        (vec![0x0a; MAX_PACKET + 1], false, "truncated"),
        (vec![], false, "closed"),
    ] {
        let (mut client, agent) = raw_agent(&dir).await;
        let fd = some_fd();
        agent.send(&packet, descriptor.then(|| fd.as_fd())).await.unwrap();
        let error = client.recv().await.unwrap_err();
        assert_eq!(error.reason(), reason, "{packet:?}: {error}");
        assert!(!error.leaves_connection_usable());
        std::fs::remove_file(dir.path().join("z.sock")).unwrap();
    }
    let two = vec![some_fd(), some_fd()];
    assert_eq!(Request::decode(&added, two).unwrap_err().reason(), "violation");
}

#[tokio::test]
async fn an_agent_refuses_answers_that_make_no_sense() {
    let dir = TempDir::new().unwrap();
    for (answer, descriptor, reason) in [
        (vec![0xff; 9], false, "malformed"),
        (b"\x12\x00".to_vec(), false, "violation"),
        (b"\x0a\x00".to_vec(), true, "violation"),
        (vec![0x0a; MAX_PACKET + 1], false, "truncated"),
    ] {
        let (mut connection, peer) = raw_peer(&dir).await;
        let fd = some_fd();
        peer.send(&answer, descriptor.then(|| fd.as_fd())).await.unwrap();
        let error = connection.request(&keep("u")).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{answer:?}: {error}");
        // Which answer belongs to which request is not known any more.
        let next = connection.request(&keep("u")).await.unwrap_err();
        assert_eq!(next.reason(), "out_of_step");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_ztunnel_does_not_hold_the_agent_up() {
    let dir = TempDir::new().unwrap();
    let (mut connection, _peer) = raw_peer(&dir).await;
    let five = Duration::from_secs(5);
    assert!(matches!(connection.hello().await, Err(Error::Deadline(after)) if after == five));
    let (mut connection, peer) = raw_peer(&dir).await;
    peer.send(&encode_hello(), None).await.unwrap();
    connection.hello().await.unwrap();
    let error = connection.request(&Request::<OwnedFd>::SnapshotSent).await.unwrap_err();
    assert!(matches!(error, Error::Deadline(after) if after == five));
    let next = connection.request(&keep("u")).await.unwrap_err();
    assert_eq!(next.reason(), "out_of_step");
}

#[tokio::test]
async fn hellos_are_checked() {
    let dir = TempDir::new().unwrap();
    for (hello, expected) in [
        (vec![0x08, 0x01], Ok(1)),
        (vec![0x08, 0x07], Ok(7)),
        (vec![0xff, 0xff], Err("malformed")),
        (vec![], Err("closed")),
    ] {
        let (mut connection, peer) = raw_peer(&dir).await;
        peer.send(&hello, None).await.unwrap();
        let version = connection.hello().await.map_err(|error| error.reason());
        assert_eq!(version, expected, "{hello:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_notices_its_end() {
    let dir = TempDir::new().unwrap();
    let (connection, peer) = raw_peer(&dir).await;
    drop(peer);
    assert!(matches!(connection.closed().await, Error::Closed));
    let (connection, peer) = raw_peer(&dir).await;
    peer.send(b"\x0a\x00", None).await.unwrap();
    assert_eq!(connection.closed().await.reason(), "violation");
}

#[tokio::test]
async fn an_agent_takes_over_the_socket_of_its_predecessor() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("z.sock");
    let first = Server::bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(first);
    let refused = Client::connect(&path).await.unwrap_err();
    assert!(matches!(refused, Error::Path { .. }), "{refused:?}");

    // What a crash between two steps leaves behind is no obstacle.
    File::create(dir.path().join("z.sock.new")).unwrap();
    let mut second = Server::bind(&path).unwrap();
    let _client = Client::connect(&path).await.unwrap();
    second.accept().await.unwrap().hello().await.unwrap();
    let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["z.sock"]);
}

#[tokio::test]
async fn nothing_but_a_socket_is_replaced() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let long = dir.path().join("x".repeat(120));
    for path in [&file, dir.path(), &dir.path().join("missing/z.sock"), &long] {
        let error = Server::bind(path).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

fn any_request() -> impl Strategy<Value = Request<()>> {
    let dns = proptest::option::of((
        proptest::collection::vec(any::<std::net::IpAddr>(), 0..4),
        proptest::collection::vec("[a-z.]{1,40}", 0..6),
    ));
    let uid = "[a-zA-Z0-9-]{1,40}";
    prop_oneof![
        (uid, ".{0,60}", ".{0,60}", ".{0,60}", dns).prop_map(
            |(uid, name, namespace, service_account, dns)| {
                let dns = dns.map(|(nameservers, searches)| DnsConfig { nameservers, searches });
                let info = WorkloadInfo { name, namespace, service_account, dns };
                Request::Add { uid, info, netns: () }
            }
        ),
        uid.prop_map(|uid| Request::Keep { uid }),
        uid.prop_map(|uid| Request::Del { uid }),
        Just(Request::SnapshotSent),
    ]
}

proptest! {
    #[test]
    fn requests_arrive_as_they_were_sent(request in any_request()) {
        let (packet, dropped) = request.encode().unwrap();
        prop_assert!(packet.len() <= MAX_PACKET);
        let is_add = matches!(request, Request::Add { .. });
        let received = Request::decode(&packet, is_add.then(some_fd).into_iter().collect()).unwrap();
        if dropped == Dropped::default() {
            prop_assert_eq!(content(received), request);
        }
    }

    #[test]
    fn no_packet_is_a_surprise(packet in proptest::collection::vec(any::<u8>(), 0..64), fds in 0_usize..3) {
        let _ = Request::decode(&packet, (0..fds).map(|_| some_fd()).collect());
        let _ = decode_hello(&packet);
        let _ = decode_answer(&packet);
    }
}
