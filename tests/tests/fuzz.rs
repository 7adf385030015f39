//! What is kept for the fuzz targets, and inputs that are made of it: the same ones every time.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ambit_fuzz_targets::{Inputs, TARGETS, Target, corpus};

/// What all inputs follow from. `FUZZ_SEED` and `FUZZ_INPUTS` choose others and more.
const SEED: u64 = 0x0a11_b17e;
const INPUTS: usize = 10_000;
/// Longer than any input of a few kilobytes may take, on a machine that does something else.
const SLOW: Duration = Duration::from_secs(5);

#[test]
fn every_reader_of_hostile_bytes_keeps_its_promises() {
    let (seed, inputs) = (variable("FUZZ_SEED", SEED), variable("FUZZ_INPUTS", INPUTS as u64));
    let only = std::env::var("FUZZ_TARGET").unwrap_or_default();
    println!("FUZZ_SEED={seed} FUZZ_INPUTS={inputs}");
    let next = AtomicUsize::new(0);
    let complaints = std::thread::scope(|scope| {
        let work = || {
            let mut complaints = Vec::new();
            while let Some(target) = TARGETS.get(next.fetch_add(1, Relaxed)) {
                if target.name.contains(&only) {
                    complaints.extend(replay(*target, seed, inputs as usize));
                }
            }
            complaints
        };
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.map(|worker| worker.join().expect("it complains of nothing itself")).concat()
    });
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The first input that breaks a promise.
fn replay(target: Target, seed: u64, inputs: usize) -> Option<String> {
    let known = corpus(target.name);
    assert!(known.len() <= 30 && known.iter().all(|input| input.len() <= 4096), "{}", target.name);
    let began = Instant::now();
    let made = Inputs::new(known.clone(), seed).take(inputs);
    let complaint = known.into_iter().chain(made).find_map(|input| {
        let quick = || {
            let began = Instant::now();
            let kept = catch_unwind(|| (target.run)(&input)).is_ok();
            kept.then(|| began.elapsed() < SLOW)
        };
        // The machine may have stood still once.
        let fine = quick().is_some_and(|fine| fine || quick() == Some(true));
        (!fine).then(|| format!("{}: {:?}", target.name, input.escape_ascii().to_string()))
    });
    println!("{}: {:?}", target.name, began.elapsed());
    complaint
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
