//! A network between the nodes that is down for a while, loses packets, is far, or narrow.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ambit_sandbox::Room;
use ambit_tests::{DEADLINE, Mesh, echo_bytes, eventually, missing, open, run_in, soon};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{PORT, apart, traffic};

/// Bytes of a large transfer.
const LARGE: usize = 32 << 20;

async fn run(room: &Room, command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    run_in(room, &words, b"", DEADLINE).await.ok()
}

/// Sends many bytes from the client to the server and back, at once with other traffic, of which nothing may fail.
async fn transfer(mesh: &Mesh) -> Duration {
    let traffic = traffic(mesh, "client").await;
    let tcp = open(mesh.pod("client").room().netns(), mesh.at("server", PORT)).await.unwrap();
    let took = echo_bytes(tcp, LARGE).await.unwrap();
    traffic.goes_on(10).await;
    let account = traffic.stop().await;
    println!("{} MiB there and back in {took:?}; {account:?}", LARGE >> 20);
    assert_eq!(account.failures, [""; 0]);
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_was_down_is_used_again_at_once() {
    if missing(&["ip", "ss"]).is_some() {
        return;
    }
    let mesh = apart().start().await;
    mesh.greeter("server", PORT, "server");
    let traffic = traffic(&mesh, "client").await;
    let port = format!("node{}", mesh.node("n1").index());
    run(mesh.topology().fabric(), &format!("ip link set {port} down")).await;
    let down = Instant::now();
    // The tunnel has sent the same again three times, so that it waits longer and longer.
    eventually(|| async {
        let sockets = mesh.run("client", &["ss", "-Htino", "dport = :15008"]).await.ok();
        if sockets.contains("backoff:3") { Ok(()) } else { Err(sockets) }
    })
    .await;
    run(mesh.topology().fabric(), &format!("ip link set {port} up")).await;
    let (lasted, up) = (down.elapsed(), Instant::now());
    soon(open(mesh.pod("client").room().netns(), mesh.at("server", PORT))).await.unwrap();
    let took = up.elapsed();
    println!("down for {lasted:?}; a new connection {took:?} after it was up");
    // The kernel waits twice as long each time before it sends again.
    assert!(took < 2 * lasted + Duration::from_secs(1), "{took:?}");
    traffic.goes_on(10).await;
    // What was open is open still.
    let account = traffic.stop().await;
    assert_eq!(account.failures, [""; 0], "{account:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_loses_packets_loses_no_bytes() {
    if missing(&["nft"]).is_some() {
        return;
    }
    let mesh = apart().start().await;
    mesh.greeter("server", PORT, "server");
    let node = mesh.node("n1").room();
    run(node, "nft add table inet loss").await;
    run(node, "nft add chain inet loss forward { type filter hook forward priority 0 ; }").await;
    run(node, "nft add rule inet loss forward numgen random mod 100 < 5 counter drop").await;
    transfer(&mesh).await;
    let rules = run(node, "nft list chain inet loss forward").await;
    let lost = rules.split("packets ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    println!("{lost} packets were lost");
    assert!(lost.parse::<u32>().unwrap() > 20, "{rules}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_link_carries_everything_at_its_pace() {
    if missing(&["tc"]).is_some() {
        return;
    }
    let mesh = apart().start().await;
    mesh.greeter("server", PORT, "server");
    if !narrow(mesh.node("n1").room(), "1gbit").await {
        return;
    }
    let took = transfer(&mesh).await;
    let at_least = Duration::from_secs_f64(LARGE as f64 * 8.0 / 1e9);
    assert!(took > at_least, "{took:?}: nothing was narrow");
}

/// What the kernel has taken of a transfer but cannot send yet, everybody else's next bytes wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_puts_little_ahead_of_other_streams() {
    if missing(&["tc", "ss"]).is_some() {
        return;
    }
    let mesh = apart().start().await;
    mesh.greeter("server", PORT, "server");
    if !narrow(mesh.node("n1").room(), "100mbit").await {
        return;
    }
    let most = Cell::new(0);
    let watch = async {
        loop {
            let sockets = mesh.run("client", &["ss", "-Htino", "dport = :15008"]).await.ok();
            let unsent = sockets.split("notsent:").skip(1).filter_map(|rest| {
                rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok()
            });
            most.set(unsent.fold(most.get(), usize::max));
        }
    };
    tokio::select! {
        took = transfer(&mesh) => println!("at most {} bytes waited, {took:?}", most.get()),
        () = watch => {}
    }
    // 128 KiB and what the kernel takes at once, which is a packet of up to 64 KiB as a rule.
    let allowed = 64 << 10..=256 << 10;
    assert!(allowed.contains(&most.get()), "{} bytes waited", most.get());
}

/// Makes a node's link as slow as `rate`; false where the kernel cannot.
async fn narrow(node: &Room, rate: &str) -> bool {
    let command = format!("tc qdisc add dev eth0 root tbf rate {rate} burst 256kb latency 50ms");
    let words: Vec<&str> = command.split(' ').collect();
    let made = run_in(node, &words, b"", DEADLINE).await;
    if !made.status.success() {
        println!("skipped: this kernel has no tbf: {}", made.stderr.trim());
    }
    made.status.success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_far_away_is_reached_in_few_round_trips() {
    if missing(&["nft"]).is_some() {
        return;
    }
    let mesh = apart().start().await;
    mesh.greeter("server", PORT, "server");
    relay_through(&mesh, "n1", mesh.at("server", 15008)).await;
    let (netns, to) = (mesh.pod("client").room().netns(), mesh.at("server", PORT));
    // TCP, which ends at the relay on this side, TLS, HTTP/2 with CONNECT, the first byte; then CONNECT alone.
    for (what, round_trips) in [("the first connection", 4), ("the next one", 2)] {
        let began = Instant::now();
        let _held = open(netns, to).await.unwrap();
        let took = began.elapsed();
        println!("{what}: {took:?}");
        assert!(took > 2 * DELAY, "{what} took no detour: {took:?}");
        assert!(took < round_trips * 2 * DELAY + SLACK, "{what}: {took:?}");
    }
    transfer(&mesh).await;
}

/// In each direction.
const DELAY: Duration = Duration::from_millis(50);
/// What a busy machine may take besides.
const SLACK: Duration = Duration::from_millis(150);

/// Leads what a node forwards to `to` through a relay on the node, which delays every byte in both directions.
async fn relay_through(mesh: &Mesh, node: &str, to: SocketAddr) {
    const RELAY: u16 = 19008;
    let node = mesh.node(node);
    let (ip, gateway) = (to.ip(), node.gateways()[0]);
    let room = node.room();
    run(room, "nft add table ip far").await;
    run(room, "nft add chain ip far prerouting { type nat hook prerouting priority -100 ; }").await;
    let port = to.port();
    run(
        room,
        &format!(
            "nft add rule ip far prerouting ip daddr {ip} tcp dport {port} dnat to {gateway}:{RELAY}"
        ),
    )
    .await;
    let listener = mesh.listen_on_node(node.name(), SocketAddr::new(gateway, RELAY));
    let netns = room.netns().clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let netns = netns.clone();
            tokio::spawn(async move {
                let options = ambit_net::ConnectOptions {
                    netns: Some(&netns),
                    ..ambit_net::ConnectOptions::default()
                };
                // A tunnel that cannot be reached shows as one that hangs up.
                let Ok(far) = ambit_net::connect(to, &options).await else { return };
                let (near, far) = (near.into_split(), far.into_split());
                tokio::join!(delayed(near.0, far.1), delayed(far.0, near.1));
            });
        }
    });
}

async fn delayed(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let (queue, mut due) = mpsc::channel::<(tokio::time::Instant, Vec<u8>)>(4096);
    let take = async move {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let when = tokio::time::Instant::now() + DELAY;
            if queue.send((when, buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let give = async move {
        while let Some((when, bytes)) = due.recv().await {
            tokio::time::sleep_until(when).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The other side may have left.
        let _ = to.shutdown().await;
    };
    tokio::join!(take, give);
}
