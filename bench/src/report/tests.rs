//! The report as recorded.

use super::*;
use crate::load::{Latency, Outcome};
use crate::machine::Machine;
use crate::results::{Failure, Key, PeerName, Sample};
use crate::scenario::{CONGESTION_CONTROL, QUICK};

const THROUGHPUT: Scenario = QUICK[0];
const REQUESTS: Scenario = QUICK[2];

/// Two rounds in which the second is a tenth slower; Ambit fails at requests on one node.
fn results(with_peer: bool) -> Results {
    let mut peers = vec![
        PeerName { name: "bare", program: None, subject: false },
        PeerName { name: "ambit", program: Some("/opt/ambit/ztunnel".to_owned()), subject: true },
    ];
    if with_peer {
        let program = Some("/opt/peer/ztunnel".to_owned());
        peers.push(PeerName { name: "peer", program, subject: false });
    }
    let (mut samples, mut failures) = (Vec::new(), Vec::new());
    for round in [1, 2] {
        for (position, peer) in peers.iter().enumerate() {
            for placement in Placement::ALL {
                let slower = [1.0, 2.0, 4.0][position] * if round == 1 { 1.0 } else { 1.1 };
                let cpu = if peer.program.is_some() { vec![0.25 * slower, 0.5] } else { vec![] };
                let of =
                    |scenario: Scenario| Key { scenario: scenario.id, placement, peer: peer.name };
                let stream = Outcome { work: 8e9 / slower, seconds: 2.0, latency: None, errors: 0 };
                samples.push(Sample::new(of(THROUGHPUT), round, &stream, cpu.clone()));
                if peer.subject && placement == Placement::SameNode {
                    let error = "wrk got no answer: connect 64, read 0".to_owned();
                    failures.push(Failure { of: of(REQUESTS), round, error });
                    continue;
                }
                let latency = Some(Latency { p50: 0.8e-3 * slower, p99: 5e-3 * slower });
                let errors = u64::from(peer.name == "peer");
                let requests = Outcome { work: 120e3 / slower, seconds: 2.0, latency, errors };
                samples.push(Sample::new(of(REQUESTS), round, &requests, cpu));
            }
        }
    }
    let resident =
        |peer, moment, bytes: &[u64]| MemorySample { peer, moment, resident_bytes: bytes.to_vec() };
    let mut memory = vec![
        resident("ambit", Moment::Idle, &[7_000_000, 8_000_000]),
        resident("ambit", Moment::Connections(4000), &[30_000_000, 31_000_000]),
        resident("ambit", Moment::AfterLoad, &[12_000_000, 12_000_000]),
    ];
    if with_peer {
        memory.insert(1, resident("peer", Moment::Idle, &[14_000_000, 14_000_000]));
        memory.push(resident("peer", Moment::Connections(4000), &[20_000_000, 22_000_000]));
        memory.push(resident("peer", Moment::AfterLoad, &[40_000_000, 44_000_000]));
    }
    Results {
        machine: Machine {
            processor: "Some CPU".to_owned(),
            cores: 2,
            kernel: "6.18.0".to_owned(),
            load: Some(if with_peer { 3.25 } else { 0.1 }),
        },
        congestion_control: CONGESTION_CONTROL,
        command: "bench quick".to_owned(),
        rounds: 2,
        seconds: 2,
        summaries: Summary::all(&[THROUGHPUT, REQUESTS], &peers, &samples),
        peers,
        memory,
        failures,
        samples,
        took_seconds: 65.4,
    }
}

#[test]
fn a_run_beside_a_peer_reads_as_recorded() {
    insta::assert_snapshot!(render(&results(true), &[THROUGHPUT, REQUESTS]));
}

#[test]
fn a_run_without_a_peer_reads_as_recorded() {
    insta::assert_snapshot!(render(&results(false), &[THROUGHPUT]));
}

#[test]
fn the_file_has_every_sample_and_the_medians() {
    let json = serde_json::to_value(results(true)).unwrap();
    assert_eq!(json["samples"].as_array().unwrap().len(), 2 * (3 * 2 * 2 - 1));
    let sample = &json["samples"][0];
    assert_eq!((&sample["peer"], &sample["placement"]), (&"bare".into(), &"cross-node".into()));
    assert_eq!(json["summaries"][0]["scenario"], "throughput");
    assert_eq!(json["memory"][2]["moment"], serde_json::json!({"connections": 4000}));
    assert_eq!(json["failures"].as_array().unwrap().len(), 2);
}
