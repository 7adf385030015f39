//! What comes and goes: pods, with traffic to each, and policies, with somebody whom they mean.

use ambit_tests::{DEADLINE, Traffic, eventually, eventually_within};
use tokio::sync::watch;

use crate::Round;
use crate::stage::{Stage, server};

/// One pod after another, on both nodes in turn. Every second one goes while it is talked to.
pub(crate) async fn pods(stage: &Stage, name: &str, stop: watch::Receiver<bool>) -> Round {
    let (mut round, mut count, mut cut) = (Round::default(), 0, 0);
    while !*stop.borrow() {
        let pod_name = format!("{name}-{count}");
        let node = ["node-1", "node-2"][count % 2];
        stage.add(&server(&pod_name, node)).await;
        let to = stage.address(&pod_name);
        let traffic = ["near", "far"].map(|from| Traffic::start(&stage.netns(from), to));
        for client in &traffic {
            client.goes_on(10).await;
        }
        let accounts = if count % 4 < 2 {
            let accounts = traffic.each_ref().map(Traffic::so_far);
            stage.remove(&pod_name).await;
            // What was open may be left without a word: nobody is there any more who could say one.
            for client in &traffic {
                until_it_fails(client, &["fresh"]).await;
                cut += client.so_far().failures.len();
            }
            accounts
        } else {
            let [near, far] = traffic;
            let accounts = [near.stop().await, far.stop().await];
            stage.remove(&pod_name).await;
            accounts
        };
        let failures = accounts.into_iter().flat_map(|account| account.failures);
        round.complaints.extend(failures.map(|failure| format!("pod {pod_name}: {failure}")));
        count += 1;
    }
    round.lines.push(format!("{count} pods came and went, which explains {cut} failures"));
    round
}

/// Denies the stranger what everybody else may have.
const DENIAL: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-strangers, namespace: soak}
spec:
  selector: {matchLabels: {app: server}}
  action: DENY
  rules: [{from: [{source: {principals: [cluster.local/ns/soak/sa/stranger]}}]}]
";

/// A policy again and again.
pub(crate) async fn policies(stage: &Stage, stop: watch::Receiver<bool>) -> Round {
    let (mut round, mut count, mut explained) = (Round::default(), 0, 0);
    let stranger = Traffic::start(&stage.netns("stranger"), stage.address("server"));
    while !*stop.borrow() {
        let allowed = stranger.so_far().failures.len();
        stranger.goes_on(100).await;
        let failures = stranger.so_far().failures.split_off(allowed);
        round.complaints.extend(failures.into_iter().map(|failure| format!("stranger: {failure}")));
        stage.sandbox.apply(DENIAL).await.expect("the policy is right");
        until_it_fails(&stranger, &["kept", "fresh"]).await;
        stage.sandbox.delete("AuthorizationPolicy", "soak", "no-strangers").await.expect("there");
        let denied = stranger.so_far().failures.len();
        recovers(&stranger).await;
        explained += stranger.so_far().failures.len() - allowed;
        count += usize::from(denied > allowed);
    }
    let failures = stranger.stop().await.failures.len();
    if failures != explained {
        round
            .complaints
            .push(format!("stranger: {failures} failures, of which policies explain {explained}"));
    }
    round
        .lines
        .push(format!("{count} policies came and went, which explains {explained} failures"));
    round
}

/// Waits until a client's connections of some kinds fail. One may wait all its time for an answer from somebody who has
/// just gone.
async fn until_it_fails(client: &Traffic, kinds: &[&str]) {
    let before = client.so_far();
    eventually_within(2 * DEADLINE, || async {
        let mut now = client.so_far();
        let failures = now.failures.split_off(before.failures.len());
        let fails = |kind: &&str| failures.iter().any(|failure| failure.starts_with(kind));
        if kinds.iter().all(fails) {
            return Ok(());
        }
        let (kept, fresh) = (now.kept - before.kept, now.fresh - before.fresh);
        Err(format!("only {failures:?} fail, beside {kept} and {fresh} answers"))
    })
    .await;
}

/// Waits until a client has had answers and no failure for a while.
async fn recovers(client: &Traffic) {
    eventually(|| async {
        let before = client.so_far();
        client.goes_on(20).await;
        let after = client.so_far();
        if after.failures.len() == before.failures.len() {
            Ok(())
        } else {
            Err(format!("{:?}", after.failures.last()))
        }
    })
    .await;
}
