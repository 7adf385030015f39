//! Many policies, and changes of them, while traffic flows.

use ambit_tests::{eventually, missing, open, soon};
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt;

use super::{PORT, apart, traffic};

const MANY: usize = 1000;

/// A policy of the whole mesh about somebody who does not exist.
fn denial(number: usize) -> Value {
    json!({"name": format!("p{number}"), "namespace": "default", "action": "Deny", "scope": "Global", "dryRun": false,
        "rules": [[[{"principals": [{"Exact": format!("cluster.local/ns/default/sa/nobody-{number}")}]}]]]})
}

#[tokio::test]
async fn a_thousand_policies_come_and_go_and_nobody_is_hurt_but_whom_they_mean() {
    if missing(&[]).is_some() {
        return;
    }
    let mut mesh = apart().pod("stranger", "n1").start().await;
    mesh.greeter("server", PORT, "server");
    let to = mesh.at("server", PORT);
    let traffic = traffic(&mesh, "client").await;
    let mut policies: Vec<Value> = (0..MANY).map(denial).collect();
    policies[MANY / 2] = json!({"name": "one", "namespace": "default", "action": "Deny", "scope": "Global", "dryRun": false,
        "rules": [[[{"principals": [{"Exact": "cluster.local/ns/default/sa/stranger"}]}]]]});
    for round in 0..3 {
        assert_ne!(mesh.ask("stranger", to).await, "reset", "round {round}");
        let parsed = policies.iter().map(|p| serde_json::from_value(p.clone()).unwrap()).collect();
        mesh.update(|state| state.policies = parsed).await;
        assert_eq!(mesh.ask("stranger", to).await, "reset", "round {round}");
        traffic.goes_on(20).await;
        mesh.update(|state| state.policies.clear()).await;
    }
    let account = traffic.stop().await;
    println!("{account:?}");
    assert_eq!(account.failures, [""; 0]);
}

/// A recheck cannot see a connection whose application has not answered yet.
#[tokio::test]
async fn what_is_denied_before_the_application_answers_is_ended() {
    if missing(&["nft", "ss"]).is_some() {
        return;
    }
    let mesh = apart().pod("neighbour", "n2").plain_pod("outsider", "n1");
    let mut mesh = mesh.start().await;
    mesh.greeter("server", PORT, "server");
    let hold = "add table inet hold; add chain inet hold in { type filter hook input priority 0; }; \
                add rule inet hold in iifname lo tcp dport 8080 drop";
    mesh.run("server", &["nft", hold]).await.ok();
    let to = mesh.at("server", PORT);
    let callers = ["client", "neighbour", "outsider"].map(|pod| {
        let netns = mesh.pod(pod).room().netns().clone();
        tokio::spawn(async move { open(&netns, to).await })
    });
    eventually(|| async {
        let waiting = ["ss", "-Htn", "state", "syn-sent", "dport = :8080"];
        let waiting = mesh.run("server", &waiting).await.ok();
        if waiting.lines().count() == callers.len() { Ok(()) } else { Err(waiting) }
    })
    .await;
    let denial = json!({"name": "nobody", "namespace": "default", "action": "Deny", "scope": "Global", "dryRun": false,
        "rules": [[[{"destinationPorts": [PORT]}]]]});
    mesh.update(|state| state.policies = vec![serde_json::from_value(denial).unwrap()]).await;
    mesh.run("server", &["nft", "delete table inet hold"]).await.ok();
    for caller in callers {
        if let Ok(mut tcp) = caller.await.unwrap() {
            let more = soon(tcp.read_line(&mut String::new())).await;
            assert!(matches!(more, Ok(0) | Err(_)), "{more:?}");
        }
    }
    mesh.logged("n2", "closing a connection that policy denies now").await;
}
