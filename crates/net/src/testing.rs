//! What this crate's tests share: fresh namespaces, commands in them, pairs of connections.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;

use tokio::net::{TcpListener, TcpStream};

use crate::NetNs;

/// A new network namespace with loopback up, gone with its last handle. `None`, with the reason printed, where this
/// user may not make one; that is a failure where `CI=true`.
pub(crate) fn fresh_netns() -> Option<NetNs> {
    if !nix::unistd::geteuid().is_root() {
        let reason = "needs root to make a network namespace";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot skip in CI: {reason}");
        // Not captured by the test harness, as `eprintln!` would be.
        let _ = writeln!(std::io::stderr(), "skipped: {reason}");
        return None;
    }
    let netns = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        NetNs::current().unwrap()
    })
    .join()
    .unwrap();
    run_in(&netns, "ip link set lo up");
    Some(netns)
}

/// Runs a command, split at blanks, inside `netns`.
pub(crate) fn run_in(netns: &NetNs, command: &str) {
    let mut words = command.split_whitespace();
    let mut program = Command::new(words.next().unwrap());
    let status = netns.enter(|| program.args(words).status()).unwrap().unwrap();
    assert!(status.success(), "{command}: {status}");
}

/// The two ends of a loopback connection.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}
