//! Topologies on the kernel itself: reachability, clean ends, crashes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::instance::RUN_ROOT;

/// Whether this machine can run the test; says why not, and fails instead where `CI=true`.
fn able() -> bool {
    match supported() {
        Ok(()) => true,
        Err(error) if std::env::var_os("CI").is_some() => panic!("{}", error.line()),
        Err(error) => {
            eprintln!("skipped: {}", error.line());
            false
        }
    }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn greet(from: &Room, to: &Room, ip: IpAddr) -> SocketAddr {
    let listener = to.run(move || TcpListener::bind((ip, 0)).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let limit = Duration::from_secs(5);
    let client = from.run(move || TcpStream::connect_timeout(&address, limit).unwrap()).unwrap();
    let (mut server, peer) = listener.accept().unwrap();
    server.write_all(b"hello").unwrap();
    drop(server);
    let mut got = String::new();
    (&client).read_to_string(&mut got).unwrap();
    assert_eq!(got, "hello");
    peer
}

#[test]
fn everybody_reaches_everybody_by_both_families() {
    if !able() {
        return;
    }
    let mut topology = Topology::new(TopologyOptions::default()).unwrap();
    for node in ["a", "b"] {
        topology.add_node(node).unwrap();
    }
    let pods = [("a", "x"), ("a", "y"), ("b", "z")]
        .map(|(node, pod)| topology.add_pod(node, pod).unwrap());
    assert_eq!(pods[0].ips().len(), 2);
    for from in &pods {
        for to in &pods {
            for (ip, own) in to.ips().iter().zip(from.ips()) {
                assert_eq!(greet(from.room(), to.room(), *ip).ip(), *own, "sources are kept");
            }
        }
        greet(from.room(), topology.fabric(), FABRIC_V4.into());
        greet(topology.fabric(), from.room(), from.ip());
        for node in topology.nodes() {
            greet(node.room(), from.room(), from.ip());
            greet(from.room(), node.room(), node.ip());
        }
    }
}

#[test]
fn pods_come_and_go_and_get_new_addresses() {
    if !able() {
        return;
    }
    let options = TopologyOptions { ipv6: false, ..TopologyOptions::default() };
    let mut topology = Topology::new(options).unwrap();
    topology.add_node("a").unwrap();
    let first = topology.add_pod("a", "x").unwrap().ips().to_vec();
    assert_eq!(first.len(), 1);
    assert!(matches!(topology.add_pod("a", "x"), Err(Error::Exists { .. })));
    assert!(matches!(topology.add_pod("b", "y"), Err(Error::Unknown { .. })));
    topology.remove_pod("x");
    let pod = topology.add_pod("a", "x").unwrap();
    assert_ne!(pod.ips(), first);
    greet(topology.node("a").unwrap().room(), pod.room(), pod.ip());
}

#[test]
fn congestion_control_is_set_everywhere() {
    if !able() {
        return;
    }
    let options = TopologyOptions {
        congestion_control: Some("cubic".to_owned()),
        ..TopologyOptions::default()
    };
    let mut topology = Topology::new(options).unwrap();
    let node = topology.add_node("a").unwrap();
    let pod = topology.add_pod("a", "x").unwrap();
    for room in [topology.fabric().as_ref(), node.room(), pod.room()] {
        let set = room.run(|| fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control"));
        assert_eq!(set.unwrap().unwrap().trim(), "cubic");
    }
}

#[test]
fn nothing_is_left_even_of_processes_that_hide() {
    if !able() {
        return;
    }
    let mut topology = Topology::new(TopologyOptions::default()).unwrap();
    topology.add_node("a").unwrap();
    let pod = topology.add_pod("a", "shop/x").unwrap();
    let mut shell = pod.command("sh");
    shell.args(["-c", "setsid sleep 1000 & echo $!; wait"]).stdout(Stdio::piped());
    let mut child = pod.room().spawn(shell).unwrap();
    let mut pid = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let (name, dir) = (topology.instance().name().to_owned(), topology.instance().dir().to_owned());
    let link = format!("/run/netns/ambit-{name}-pod-shop.x");
    assert!(Path::new(&link).exists());
    let inside = Command::new("nsenter")
        .arg(format!("--net={link}"))
        .args(["ip", "-4", "address"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&inside.stdout).contains(&pod.ip().to_string()));
    drop(pod);
    drop(topology);
    child.wait().unwrap();
    assert!(!Path::new(&link).exists());
    assert!(!dir.exists());
    eventually("the hidden process ends", || {
        !Path::new(&format!("/proc/{}", pid.trim())).join("ns/net").exists()
    });
}

#[test]
fn a_name_is_taken_once() {
    if !able() {
        return;
    }
    let named = |name: &str| {
        Topology::new(TopologyOptions {
            instance: Some(name.to_owned()),
            ..TopologyOptions::default()
        })
    };
    let name = unique_name();
    let first = named(&name).unwrap();
    assert!(matches!(named(&name), Err(Error::InstanceTaken(_))));
    drop(first);
    named(&name).unwrap();
    for bad in ["", "Aa", "a/b", "-a", "abcdefghijklmnopqrstu"] {
        assert!(matches!(named(bad), Err(Error::InstanceName(_))), "{bad:?}");
    }
}

/// The crashing half of the next test: makes a topology with a process that hides, says so, and waits to be killed.
#[test]
#[ignore = "run by a_crash_is_swept"]
fn crasher() {
    let mut topology = Topology::new(TopologyOptions::default()).unwrap();
    topology.add_node("a").unwrap();
    let pod = topology.add_pod("a", "x").unwrap();
    let mut shell = pod.command("sh");
    shell.args(["-c", "setsid sleep 1000 >/dev/null & echo $!; wait"]).stdout(Stdio::piped());
    let mut child = pod.room().spawn(shell).unwrap();
    let mut pid = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    println!("\nready {} {} {}", topology.instance().name(), child.id(), pid.trim());
    child.wait().unwrap();
}

#[test]
fn a_crash_is_swept() {
    if !able() {
        return;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "topology::tests::crasher", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    let ready = { lines }.find_map(|line| line.strip_prefix("ready ").map(str::to_owned)).unwrap();
    let [name, child, hidden] = ready.split(' ').collect::<Vec<_>>()[..] else { panic!("{ready}") };
    let alive = |pid: &str| Path::new(&format!("/proc/{pid}/ns/net")).exists();
    assert!(alive(child) && alive(hidden));
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("the kernel ends the pod's process", || !alive(child));
    let dir = Path::new(RUN_ROOT).join(name);
    // Another test's start may sweep first; that is as good.
    drop(Topology::new(TopologyOptions::default()).unwrap());
    eventually("the directory is swept", || !dir.exists());
    eventually("the hidden process is swept", || !alive(hidden));
    assert!(!Path::new(&format!("/run/netns/ambit-{name}-node-a")).is_symlink());
}
