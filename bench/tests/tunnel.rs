//! The program itself: it measures, and leaves nothing behind however it ends.

#![allow(clippy::unwrap_used)] // Helpers of tests are no test functions to clippy.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LOAD: [&str; 9] = [
    "quick",
    "--peers",
    "bare",
    "--scenarios",
    "new-connections",
    "--seconds",
    "1",
    "--idle-connections",
    "0",
];

/// Whether this machine can run the test; says why not, and fails instead where `CI=true`.
fn able() -> bool {
    let dirs = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain([PathBuf::from("/usr/sbin")])
        .collect::<Vec<_>>();
    let missing = ["iperf3", "wrk", "nginx"]
        .into_iter()
        .find(|tool| !dirs.iter().any(|dir| dir.join(tool).exists()));
    let reason = match (ambit_sandbox::supported(), missing) {
        (Ok(()), None) => return true,
        (Err(error), _) => error.line(),
        (_, Some(tool)) => format!("{tool} is not installed"),
    };
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    eprintln!("skipped: {reason}");
    false
}

/// Whether there is a tunnel beside the benchmark, too.
fn able_with_a_tunnel() -> bool {
    let built = Path::new(env!("CARGO_BIN_EXE_bench")).with_file_name("ztunnel").exists();
    if able() && built {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "no ztunnel: cargo build -p ambit-ztunnel");
    eprintln!("skipped: no ztunnel: cargo build -p ambit-ztunnel");
    false
}

/// Runs the program with short loads; returns what it prints and what it writes.
fn measured(arguments: &[&str]) -> (String, serde_json::Value) {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("results.json");
    let plots = dir.path().join("plots");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(arguments).args(["--rounds", "1", "--seconds", "1"]).env_remove("PEER_ZTUNNEL");
    let output = command.arg("--json").arg(&json).arg("--plots").arg(&plots).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{report}");
    for picture in fs::read_dir(plots).unwrap() {
        let picture = fs::read_to_string(picture.unwrap().path()).unwrap();
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
    }
    (report, serde_json::from_slice(&fs::read(json).unwrap()).unwrap())
}

/// The figures of Ambit by their titles.
fn figures(results: &serde_json::Value) -> Vec<(String, f64)> {
    let figures = results["figures"].as_array().unwrap().iter().filter_map(|figure| {
        let values = figure["values"].as_array().unwrap();
        let ours = values.iter().find(|value| value["peer"] == "ambit")?;
        Some((figure["title"].as_str().unwrap().to_owned(), ours["value"].as_f64().unwrap()))
    });
    figures.collect()
}

#[test]
fn a_tunnel_is_measured_with_its_memory() {
    if !able_with_a_tunnel() {
        return;
    }
    let (report, results) = measured(&[
        "tunnel",
        "--scenarios",
        "new-connections",
        "--idle-connections",
        "50",
        "--workloads",
        "200",
    ]);
    let figures = figures(&results);
    for title in [
        "new connections, 8 at a time, same-node: CPU",
        "memory, idle",
        "memory, 50 open connections",
        "memory after all load",
        "most memory under any load",
        "200 workloads: memory",
        "200 workloads: start",
    ] {
        let figure = figures.iter().find(|(known, _)| known == title);
        assert!(figure.is_some_and(|(_, value)| *value > 0.0), "{title} in {figures:?}");
        assert!(report.contains(title), "{report}");
    }
}

#[test]
fn latency_stalled_streams_workers_and_a_slow_link_are_measured() {
    if !able_with_a_tunnel() {
        return;
    }
    let (_, results) = measured(&["full", "--scenarios", "latency,stalled,workers,link"]);
    let figures = figures(&results);
    for title in [
        "1000 requests a second offered, cross-node: p99",
        "p99 beside 8 stalled : alone",
        "8 workers: handshakes of an idle pair",
        "8 workers: busiest : mean, server's node",
        "1 Gb/s link, small requests beside a transfer : alone",
    ] {
        let figure = figures.iter().find(|(known, _)| known == title);
        assert!(figure.is_some_and(|(_, value)| *value > 0.0), "{title} in {figures:?}");
    }
    let transfer = figures.iter().find(|(title, _)| title == "the transfer beside them").unwrap();
    assert!(transfer.1 * 8.0 < 1.05e9, "the link is not slow: {transfer:?}");
    assert_eq!(results["latencies"].as_array().unwrap().len(), 2);
}

#[test]
fn connections_policies_and_workloads_are_measured_in_part() {
    if !able_with_a_tunnel() {
        return;
    }
    let scenarios = "held,telemetry,policies,state,start,readers";
    let (_, results) = measured(&["full", "--part", "0.01", "--scenarios", scenarios]);
    let figures = figures(&results);
    for title in [
        "150 connections of 4 pods: memory of each",
        "1000 connections in sequence: after : before",
        "new connection, access log off: CPU",
        "new connection, 10 policies: CPU",
        "metrics of a connection (in process)",
        "10 policies about other identities: a decision (in process)",
        "10 policies about other addresses: a decision (in process)",
        "1000 workloads: change of one (in process)",
        "1000 workloads: memory",
        "50 clients that do not read: memory for each",
    ] {
        let figure = figures.iter().find(|(known, _)| known == title);
        assert!(figure.is_some_and(|(_, value)| *value > 0.0), "{title} in {figures:?}");
    }
}

fn bench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(LOAD);
    command
}

/// Waits until nothing is left of the sandbox of the process `pid`.
fn nothing_is_left(pid: u32) {
    let name = format!("p{pid}-0");
    let marker = format!("AMBIT_SANDBOX={name}");
    let processes = || {
        let marked = |entry: fs::DirEntry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let marked =
                environment.split(|byte| *byte == 0).any(|entry| entry == marker.as_bytes());
            marked.then(|| entry.file_name())
        };
        fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(marked).collect::<Vec<_>>()
    };
    let links = || {
        let ours = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains(&name);
        fs::read_dir("/run/netns").map_or(0, |dir| dir.flatten().filter(ours).count())
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !processes().is_empty() || links() > 0 || Path::new("/run/ambit").join(&name).exists() {
        assert!(Instant::now() < deadline, "left: {:?}, {} namespaces", processes(), links());
        std::thread::yield_now();
    }
}

#[test]
fn the_bare_network_is_measured() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("results.json");
    let child = bench().args(["--rounds", "1", "--json"]).arg(&json).stdout(Stdio::piped()).spawn();
    let child = child.unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("new connections") && table.contains("cubic in all namespaces"),
        "{table}"
    );
    let results: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let samples = results["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 2, "one for each placement of the server");
    assert!(samples.iter().all(|sample| sample["work"].as_f64().unwrap() > 0.0));
    nothing_is_left(pid);
}

#[test]
fn an_interrupt_removes_everything() {
    if !able() {
        return;
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut child = bench().args(["--rounds", "900"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("round 1/900")), "it never started");
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(128 + signal as i32), None), "{rest:?}");
        nothing_is_left(child.id());
    }
}

#[test]
fn what_cannot_be_measured_is_said_at_once() {
    if !able() {
        return;
    }
    for (arguments, expected) in [
        (["--ztunnel", "/no/such/ztunnel"], "/no/such/ztunnel is no program: build it"),
        (["--scenarios", "speed"], "no scenario \"speed\"; there are throughput, requests-1"),
        (["--json", "/no/such/dir/x.json"], "cannot write /no/such/dir/x.json"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
        command.arg("quick").args(arguments);
        if arguments[0] == "--json" {
            command.args(["--peers", "bare"]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
