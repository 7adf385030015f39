//! A tunnel that is replaced while connections wait in its queues, and while they run.

use std::collections::BTreeMap;

use ambit_tests::{
    Caller, DEADLINE, Mesh, MeshBuilder, echoes, eventually, identity, missing, open, soon,
};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{PORT, apart, traffic};

/// Connections of a storm: more than all queues of two tunnels hold.
const STORM: usize = 700;
/// What one queue holds.
const BACKLOG: u32 = 128;

/// Tunnels that let connections finish for as long as a test takes.
fn patient() -> MeshBuilder {
    apart().env("CONNECTION_TERMINATION_DEADLINE", "60s")
}

/// Pods whose kernel moves what waits on a socket that closes, as the agent has it.
async fn start(builder: MeshBuilder) -> Mesh {
    let mesh = builder.plain_pod("outsider", "n1").start().await;
    for pod in ["client", "server"] {
        mesh.sysctl(pod, "net.ipv4.tcp_migrate_req", "1").await;
    }
    mesh.greeter("server", PORT, "server");
    ambit_net::raise_descriptor_limit().unwrap();
    mesh
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_full_queues_is_served() {
    storm_is_served("n1", "client", 15001).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_from_outside_in_full_queues_is_served() {
    storm_is_served("n2", "outsider", 15006).await;
}

/// A storm of connections from a pod to the server, which wait on `node`, whose tunnel is replaced.
async fn storm_is_served(node: &str, from: &str, port: u16) {
    if missing(&["ss"]).is_some() {
        return;
    }
    let mut mesh = start(patient()).await;
    let traffic = traffic(&mesh, from).await;
    let mut first = mesh.succeed(node).await;
    mesh.signal(node, &first, "STOP").await;
    let (netns, to) = (mesh.pod(from).room().netns(), mesh.at("server", PORT));
    let storm = join_all((0..STORM).map(|_| open(netns, to)));
    let upgrade = async {
        full(&mesh, if node == "n1" { from } else { "server" }, port).await;
        mesh.signal(node, &first, "TERM").await;
        mesh.signal(node, &first, "CONT").await;
    };
    let (served, ()) = in_time(async { tokio::join!(storm, upgrade) }).await;
    let failed = tally(served.iter().filter_map(|served| served.as_ref().err()));
    assert_eq!(failed, BTreeMap::new(), "of {STORM} connections");
    drop(served);
    let account = traffic.stop().await;
    assert_eq!(account.failures, [""; 0], "{account:?}");
    assert!(soon(first.wait()).await.unwrap().success());
    mesh.logged(node, "connections_cut=0").await;
}

/// How often each complaint was made.
fn tally(complaints: impl Iterator<Item = impl ToString>) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for complaint in complaints {
        *tally.entry(complaint.to_string()).or_default() += 1;
    }
    tally
}

/// Waits for what takes longer than most.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(3 * DEADLINE, work).await.expect("it ends")
}

/// Waits until the two queues of the tunnel that stands still are full.
async fn full(mesh: &Mesh, pod: &str, port: u16) {
    eventually(|| async {
        let filter = format!("sport = :{port}");
        let sockets = mesh.run(pod, &["ss", "-Hltn", &filter]).await.ok();
        let queued =
            sockets.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse().ok());
        let full = queued.filter(|count: &u32| *count >= BACKLOG).count();
        if full >= 2 { Ok(()) } else { Err(sockets) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_that_wait_in_full_queues_are_served() {
    if missing(&["ss"]).is_some() {
        return;
    }
    let mut mesh = start(patient()).await;
    let mut first = mesh.succeed("n2").await;
    mesh.signal("n2", &first, "STOP").await;
    let credential = mesh.credential(&identity("client")).await;
    let config = ambit_tls::client_config(&credential, &[identity("server")]);
    let authority = mesh.at("server", PORT).to_string();
    let call = || async {
        let (config, to) = ((*config).clone(), mesh.at("server", 15008));
        let tls = mesh.dial_tls("outsider", to, config).await.map_err(|e| e.to_string())?;
        let mut caller = Caller::over(tls).await.map_err(|e| e.to_string())?;
        let answer = caller.connect(&authority).await;
        match answer.in_a_word().as_str() {
            "200" => answer.open().line().await.map(drop).map_err(|e| e.to_string()),
            _ => Err(format!("{answer:?}")),
        }
    };
    let upgrade = async {
        full(&mesh, "server", 15008).await;
        mesh.signal("n2", &first, "TERM").await;
        mesh.signal("n2", &first, "CONT").await;
    };
    let storm = join_all((0..STORM).map(|_| call()));
    let (served, ()) = in_time(async { tokio::join!(storm, upgrade) }).await;
    let failed = tally(served.iter().filter_map(|served| served.as_ref().err()));
    assert_eq!(failed, BTreeMap::new(), "of {STORM} tunnels");
    assert!(soon(first.wait()).await.unwrap().success());
    mesh.logged("n2", "connections_cut=0").await;
}

#[tokio::test]
async fn what_runs_may_finish_and_what_is_cut_is_counted() {
    if missing(&[]).is_some() {
        return;
    }
    let mut mesh = start(apart().env("CONNECTION_TERMINATION_DEADLINE", "3s")).await;
    let (netns, to) = (mesh.pod("client").room().netns().clone(), mesh.at("server", PORT));
    let mut held = join_all((0..3).map(|_| open(&netns, to))).await;
    let mut held: Vec<_> = held.drain(..).map(Result::unwrap).collect();
    let mut first = mesh.succeed("n1").await;
    mesh.signal("n1", &first, "TERM").await;
    mesh.logged("n1", "draining").await;
    for tcp in &mut held {
        echoes(tcp).await.unwrap();
    }
    let mut finished = held.pop().unwrap();
    finished.shutdown().await.unwrap();
    assert_eq!(soon(finished.read(&mut [0])).await.unwrap(), 0, "it ends in order");
    assert!(soon(first.wait()).await.unwrap().success());
    for mut cut in held {
        assert!(!matches!(soon(cut.read(&mut [0])).await, Ok(1..)), "it is open still");
    }
    mesh.logged("n1", "connections_cut=2").await;
}
