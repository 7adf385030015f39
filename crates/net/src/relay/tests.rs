//! Relays between real loopback connections.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::testing::pair;

/// A relay between a client (of side A) and a server (of side B).
struct Rig {
    client: TcpStream,
    server: TcpStream,
    counters: std::sync::Arc<Counters>,
    relay: JoinHandle<Outcome>,
}

async fn rig() -> Rig {
    let (client, a) = pair().await;
    let (b, server) = pair().await;
    let counters = std::sync::Arc::new(Counters::default());
    let shared = counters.clone();
    let relay = tokio::spawn(async move { relay(a, b, &shared).await });
    Rig { client, server, counters, relay }
}

async fn read_exactly(stream: &mut TcpStream, expected: &[u8]) {
    let mut buffer = vec![0; expected.len()];
    stream.read_exact(&mut buffer).await.unwrap();
    assert!(buffer == expected);
}

async fn assert_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

async fn assert_reset(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn either_side_may_finish_first() {
    for client_first in [true, false] {
        let mut rig = rig().await;
        let (first, second) = if client_first {
            (&mut rig.client, &mut rig.server)
        } else {
            (&mut rig.server, &mut rig.client)
        };
        first.write_all(b"question").await.unwrap();
        first.shutdown().await.unwrap();
        read_exactly(second, b"question").await;
        assert_end(second).await;
        for _ in 0..3 {
            second.write_all(b"answer").await.unwrap();
            read_exactly(first, b"answer").await;
        }
        assert!(!rig.relay.is_finished());
        second.shutdown().await.unwrap();
        assert_end(first).await;
        assert!(matches!(rig.relay.await.unwrap(), Outcome::Finished));
        let moved = (rig.counters.a_to_b(), rig.counters.b_to_a());
        assert_eq!(moved, if client_first { (8, 18) } else { (18, 8) });
    }
}

#[tokio::test]
async fn a_reset_reaches_the_other_side() {
    let mut one = rig().await;
    crate::reset(one.client);
    assert_reset(&mut one.server).await;
    assert!(matches!(one.relay.await.unwrap(), Outcome::Reset { by: Side::A }));

    let mut other = rig().await;
    crate::reset(other.server);
    assert_reset(&mut other.client).await;
    assert!(matches!(other.relay.await.unwrap(), Outcome::Reset { by: Side::B }));
}

#[tokio::test]
async fn a_reset_after_a_finish_is_noticed_while_idle() {
    let mut rig = rig().await;
    rig.server.shutdown().await.unwrap();
    assert_end(&mut rig.client).await;
    crate::reset(rig.server);
    assert!(matches!(rig.relay.await.unwrap(), Outcome::Reset { by: Side::B }));
    let error =
        rig.client.read(&mut [0]).await.map_or_else(|error| error, |_| Error::other("no error"));
    let written = rig.client.write(b"x").await;
    assert!(crate::is_reset(&error) || written.is_err());
}

/// A server that answers early and closes with the request unread resets; its answer still has to arrive.
#[tokio::test]
async fn what_was_said_before_a_reset_is_delivered() {
    let mut rig = rig().await;
    rig.client.write_all(&vec![1; 100_000]).await.unwrap();
    rig.server.readable().await.unwrap();
    rig.server.write_all(b"too large").await.unwrap();
    drop(rig.server);
    read_exactly(&mut rig.client, b"too large").await;
    assert!(matches!(rig.relay.await.unwrap(), Outcome::Reset { by: Side::B }));
}

#[tokio::test]
async fn dropping_the_relay_resets_both() {
    let mut rig = rig().await;
    rig.client.write_all(b"x").await.unwrap();
    read_exactly(&mut rig.server, b"x").await;
    rig.relay.abort();
    assert_reset(&mut rig.client).await;
    assert_reset(&mut rig.server).await;
}

/// Bytes whose order shows: the period is no multiple of any buffer's size.
fn pattern() -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..1_000_003).map(next).collect()
}

async fn send_pattern(stream: &mut (impl AsyncWriteExt + Unpin), pattern: &[u8], total: usize) {
    let mut left = total;
    while left > 0 {
        let piece = pattern.get(..left.min(pattern.len())).unwrap();
        stream.write_all(piece).await.unwrap();
        left -= piece.len();
    }
    stream.shutdown().await.unwrap();
}

async fn check_pattern(stream: &mut (impl AsyncReadExt + Unpin), pattern: &[u8]) -> usize {
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 {
            return total;
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let expected = &pattern[total % pattern.len()..];
            let both = rest.len().min(expected.len());
            assert!(rest[..both] == expected[..both], "wrong bytes after {total}");
            total += both;
            rest = &rest[both..];
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_megabytes_each_way_arrive_whole() {
    const TOTAL: usize = 200_000_000;
    let rig = rig().await;
    let (mut client_read, mut client_write) = rig.client.into_split();
    let (mut server_read, mut server_write) = rig.server.into_split();
    let pattern = std::sync::Arc::new(pattern());
    let p = pattern.clone();
    let one = tokio::spawn(async move { send_pattern(&mut client_write, &p, TOTAL).await });
    let p = pattern.clone();
    let two = tokio::spawn(async move { send_pattern(&mut server_write, &p, TOTAL).await });
    let p = pattern.clone();
    let three = tokio::spawn(async move { check_pattern(&mut server_read, &p).await });
    assert_eq!(check_pattern(&mut client_read, &pattern).await, TOTAL);
    assert_eq!(three.await.unwrap(), TOTAL);
    one.await.unwrap();
    two.await.unwrap();
    assert!(matches!(rig.relay.await.unwrap(), Outcome::Finished));
    assert_eq!(rig.counters.a_to_b(), TOTAL as u64);
    assert_eq!(rig.counters.b_to_a(), TOTAL as u64);
}

/// Pieces of all sizes, with a receiver that is slow at first: copies, leftovers and pipes take turns.
#[tokio::test]
async fn odd_sizes_and_a_slow_receiver_keep_the_order() {
    let mut rig = rig().await;
    let pattern = pattern();
    let total = 50_000_000;
    let sent = pattern.clone();
    let writer = tokio::spawn(async move {
        let whole: Vec<u8> = sent.iter().copied().cycle().take(total).collect();
        let mut rest = whole.as_slice();
        for size in [1, 32 * 1024, 32 * 1024 + 1, 7, 100_000, 31 * 1024, 3_000_000].iter().cycle() {
            let piece = rest.get(..*size).unwrap_or(rest);
            rig.client.write_all(piece).await.unwrap();
            rest = &rest[piece.len()..];
            if rest.is_empty() {
                break;
            }
        }
        rig.client
    });
    // Until the counter stands still, everything between is full.
    let mut before = None;
    while before != Some(rig.counters.a_to_b()) || before == Some(0) {
        before = Some(rig.counters.a_to_b());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert!(!writer.is_finished());
    let reader = tokio::spawn(async move { check_pattern(&mut rig.server, &pattern).await });
    drop(writer.await.unwrap());
    assert_eq!(reader.await.unwrap(), total);
}

#[tokio::test]
async fn one_turn_moves_no_more_than_its_budget_allows() {
    let (mut client, a) = pair().await;
    let (b, _server) = pair().await;
    client.write_all(&vec![7; 100_000]).await.unwrap();
    while a.peek(&mut vec![0; 32 * 1024]).await.unwrap() < 32 * 1024 {}
    let moved = AtomicU64::new(0);
    let mut direction = Direction::new(&a, &b, &moved);
    let mut budget = 1;
    let first = poll_fn(|cx| Poll::Ready(direction.poll(cx, &mut budget))).await;
    assert!(first.is_pending());
    assert_eq!((budget, moved.load(Ordering::Relaxed)), (0, 32 * 1024));
}

/// A worker with an endless bulk relay must still serve small messages.
#[tokio::test]
async fn a_bulk_relay_does_not_starve_small_ones() {
    let bulk = rig().await;
    let mut small = rig().await;
    let (client, server) = (bulk.client.into_std().unwrap(), bulk.server.into_std().unwrap());
    let flood = std::thread::spawn(move || {
        client.set_nonblocking(false).unwrap();
        while std::io::Write::write_all(&mut &client, &[0; 1 << 16]).is_ok() {}
    });
    let sink = std::thread::spawn(move || {
        server.set_nonblocking(false).unwrap();
        let _ = std::io::copy(&mut &server, &mut std::io::sink());
    });
    let round_trips = async {
        while bulk.counters.a_to_b() < 1 << 20 {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            small.client.write_all(b"ping").await.unwrap();
            read_exactly(&mut small.server, b"ping").await;
            small.server.write_all(b"pong").await.unwrap();
            read_exactly(&mut small.client, b"pong").await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), round_trips).await.expect("starved");
    bulk.relay.abort();
    assert!(bulk.relay.await.unwrap_err().is_cancelled());
    flood.join().unwrap();
    sink.join().unwrap();
}

#[test]
fn ends_decide_the_outcome() {
    fn reset() -> Error {
        ErrorKind::ConnectionReset.into()
    }
    fn ends(code: u8) -> Option<End> {
        match code {
            b'F' => Some(End::Finished),
            b'S' => Some(End::SourceBroken(reset())),
            b'D' => Some(End::DestinationBroken(reset())),
            _ => None,
        }
    }
    // (a to b, b to a) by first letter, '-' still running => who broke, 'F' finished, '-' goes on.
    for (case, expected) in [
        ("--", '-'),
        ("F-", '-'),
        ("-F", '-'),
        ("D-", '-'),
        ("-D", '-'),
        ("FF", 'F'),
        ("S-", 'A'),
        ("-S", 'B'),
        ("SF", 'A'),
        ("FS", 'B'),
        ("SD", 'A'),
        ("DS", 'B'),
        ("DF", 'B'),
        ("FD", 'A'),
        ("DD", 'B'),
        ("SS", 'A'),
    ] {
        let &[ab, ba] = case.as_bytes() else { unreachable!() };
        let (mut ab, mut ba) = (ends(ab), ends(ba));
        let decided = match outcome(&mut ab, &mut ba) {
            None => '-',
            Some(Outcome::Finished) => 'F',
            Some(Outcome::Reset { by: Side::A }) => 'A',
            Some(Outcome::Reset { by: Side::B }) => 'B',
            Some(Outcome::Failed { .. }) => '?',
        };
        assert_eq!(decided, expected, "{case}");
        if decided == '-' {
            assert_eq!(
                (ab.is_some(), ba.is_some()),
                (case.as_bytes()[0] != b'-', case.as_bytes()[1] != b'-')
            );
        }
    }
}
