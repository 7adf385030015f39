//! Many policies, and changes of them, while traffic flows.

use ambit_tests::missing;
use serde_json::{Value, json};

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
