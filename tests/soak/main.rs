//! `soak`: mixed traffic through the whole mesh while pods, policies and certificates come and go. Afterwards every
//! program must be what it was before, and every error one that something explains.
//!
//! `SOAK_SECONDS` says how long, half an hour by default.

mod churn;
mod clients;
mod figures;
mod stage;

use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use clients::Clients;
use figures::Figures;
use stage::{LogsOfPanics, Stage};

/// A first round, after which every program has met everything once.
const WARM_UP: Duration = Duration::from_secs(15);
/// How often it says that it goes on.
const REPORT: Duration = Duration::from_secs(60);

/// What a round has seen.
#[derive(Default)]
struct Round {
    /// What happened, for people.
    lines: Vec<String>,
    /// What nothing explains.
    complaints: Vec<String>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    if let Some(reason) = ambit_tests::missing(&["nft", "ip"]) {
        println!("soak: skipped: {reason}");
        return ExitCode::SUCCESS;
    }
    let length = match std::env::var("SOAK_SECONDS").map(|text| text.parse()) {
        Err(_) => Duration::from_secs(30 * 60),
        Ok(Ok(seconds)) => Duration::from_secs(seconds),
        Ok(Err(error)) => {
            eprintln!("soak: SOAK_SECONDS: {error}");
            return ExitCode::FAILURE;
        }
    };
    ambit_net::raise_descriptor_limit().expect("the limit of descriptors can be raised");
    let stage = Stage::start().await;
    let warm = round(&stage, "warm", WARM_UP).await;
    let before = Figures::settled(&stage).await;
    let soak = round(&stage, "soak", length.saturating_sub(WARM_UP)).await;
    let after = Figures::back_to(&stage, &before).await;
    let complaints = [warm.complaints, soak.complaints, after.differences(&before)].concat();
    println!("soak: {} s; {}", length.as_secs(), soak.lines.join("; "));
    println!("{}", after.table(&before));
    if !complaints.is_empty() {
        stage.keep_logs();
    }
    stage.stop().await;
    for complaint in &complaints {
        println!("soak: {complaint}");
    }
    match complaints.len() {
        0 => println!("soak: passed"),
        count => println!("soak: failed, {count} complaints"),
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Everything at once, for so long.
async fn round(stage: &Stage, name: &str, length: Duration) -> Round {
    let _logs = LogsOfPanics(stage);
    let clients = Clients::start(stage).await;
    let (stop, stopped) = watch::channel(false);
    let end = Instant::now() + length;
    let watch = async {
        while Instant::now() + REPORT < end {
            sleep(REPORT).await;
            println!("soak: {} s to go; {}", (end - Instant::now()).as_secs(), clients.so_far());
        }
        sleep_until(end).await;
        stop.send_replace(true);
    };
    let ((), pods, policies) = tokio::join!(
        watch,
        churn::pods(stage, name, stopped.clone()),
        churn::policies(stage, stopped.clone())
    );
    let traffic = clients.stop().await;
    let rounds = [traffic, pods, policies];
    let certificates = format!("{} certificates so far", stage.certificates().await);
    rounds.into_iter().fold(
        Round { lines: vec![certificates], ..Round::default() },
        |mut all, round| {
            all.lines.extend(round.lines);
            all.complaints.extend(round.complaints);
            all
        },
    )
}
