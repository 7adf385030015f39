//! The real agent, with real namespaces, and tests that play ztunnel and the source of pods.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod kubernetes;
mod rig;

use std::time::Duration;

use ambit_agent::{ControlError, PodSpec};
use ambit_zds::{Error, Request};
use rig::{Agent, Home, Pod, Ztunnel, eventually, privileged};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

#[tokio::test]
async fn a_pod_is_served_then_captured_and_passes_before_it_is_let_go() {
    if !privileged() {
        return;
    }
    let home = Home::new();
    let agent = Agent::start(&home, &[]).await;
    let mut ztunnel = Ztunnel::connect(&home).await;
    ztunnel.expect_snapshot(&[]).await;
    let pod = Pod::new("u1");
    assert_eq!((pod.has_rules(), pod.migrate_req()), (false, "0".into()));

    let adding = agent.add(&pod);
    let Request::Add { uid, info, netns } = ztunnel.next().await else { panic!() };
    assert_eq!((uid.as_str(), info.name.as_str(), info.namespace.as_str()), ("u1", "cart", "shop"));
    let dns = info.dns.as_ref().unwrap();
    assert_eq!(dns.nameservers, ["10.96.0.10".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(dns.searches, ["shop.svc.cluster.local"]);
    assert_eq!(ambit_net::NetNs::from_fd(netns).unwrap(), pod.netns);
    assert!(pod.is_clean(), "what nobody serves must not be captured");
    assert!(!adding.is_finished(), "the reply has to wait for ztunnel");
    ztunnel.ack().await;
    adding.await.unwrap().unwrap();
    assert_eq!((pod.has_rules(), pod.migrate_req()), (true, "1".into()));

    agent.remove("u1").await.unwrap().unwrap();
    assert!(!pod.has_rules(), "new connections pass");
    assert!(!pod.is_clean(), "what was captured needs its rules to end well");
    assert!(matches!(ztunnel.next().await, Request::Del { uid } if uid == "u1"));
    ztunnel.ack().await;
    eventually("nothing is left", async || pod.is_clean()).await;
}

#[tokio::test]
async fn two_ztunnels_at_once() {
    if !privileged() {
        return;
    }
    let home = Home::new();
    let agent = Agent::start(&home, &[]).await;
    let mut old = Ztunnel::connect(&home).await;
    old.expect_snapshot(&[]).await;
    let (first, second) = (Pod::new("u1"), Pod::new("u2"));
    let adding = agent.add(&first);
    old.expect_add("u1").await;
    adding.await.unwrap().unwrap();

    let mut new = Ztunnel::connect(&home).await;
    new.expect_snapshot(&["u1"]).await;
    let adding = agent.add(&second);
    new.expect_add("u2").await;
    adding.await.unwrap().unwrap();

    agent.remove("u1").await.unwrap().unwrap();
    for ztunnel in [&mut old, &mut new] {
        assert!(matches!(ztunnel.next().await, Request::Del { uid } if uid == "u1"));
        ztunnel.ack().await;
    }

    // What the latest served, the one before has to take over if that goes.
    drop(new);
    old.expect_add("u2").await;
}

#[tokio::test]
async fn a_refused_pod_is_offered_again() {
    if !privileged() {
        return;
    }
    let home = Home::new();
    let agent = Agent::start(&home, &[]).await;
    let mut ztunnel = Ztunnel::connect(&home).await;
    ztunnel.expect_snapshot(&[]).await;
    let pod = Pod::new("u1");
    let adding = agent.add(&pod);
    for _ in 0..3 {
        assert!(matches!(ztunnel.next().await, Request::Add { .. }));
        ztunnel.client.ack(Err("ports are taken")).await.unwrap();
    }
    assert!(!adding.is_finished());
    ztunnel.expect_add("u1").await;
    adding.await.unwrap().unwrap();
    let metrics = agent.get("/metrics").await;
    let refusals = r#"ambit_agent_operations_total{operation="offer",result="error"} 3"#;
    assert!(metrics.contains(refusals), "{metrics}");
    assert!(metrics.contains(r#"ambit_agent_pods{state="served"} 1"#), "{metrics}");
}

#[tokio::test]
async fn a_restart_undoes_nothing_and_forgets_nobody() {
    if !privileged() {
        return;
    }
    let home = Home::new();
    let agent = Agent::start(&home, &[]).await;
    let mut ztunnel = Ztunnel::connect(&home).await;
    ztunnel.expect_snapshot(&[]).await;
    let (pod, short_lived) = (Pod::new("u1"), Pod::new("u2"));
    for pod in [&pod, &short_lived] {
        let adding = agent.add(pod);
        ztunnel.expect_add(&pod.spec.uid).await;
        adding.await.unwrap().unwrap();
    }
    agent.terminate().await;
    assert!(matches!(ztunnel.client.recv().await, Err(Error::Closed)));
    assert_eq!((pod.has_rules(), pod.migrate_req()), (true, "1".into()));
    drop(short_lived);

    let agent = Agent::start(&home, &[]).await;
    let mut ztunnel = Ztunnel::connect(&home).await;
    // Kept, or offered at once, by how fast its rules were looked after; never missing.
    ztunnel.expect_snapshot(&["u1"]).await;
    eventually("u1 is served", async || {
        agent.get("/metrics").await.contains(r#"ambit_agent_pods{state="served"} 1"#)
            || ztunnel.try_ack().await
    })
    .await;
    let removing = agent.remove("u1");
    ztunnel.ack_until_done(removing).await.unwrap();
    assert!(!pod.has_rules());
    eventually("nothing is left", async || pod.is_clean()).await;
}

#[tokio::test]
async fn one_agent_to_a_run_directory() {
    if !privileged() {
        return;
    }
    let home = Home::new();
    let _agent = Agent::start(&home, &[]).await;
    let (status, stderr) = Agent::fail(&home, &[]).await;
    assert!(!status.success());
    assert!(stderr.starts_with("ambit-agent: another ambit-agent (process "), "{stderr}");
    let (status, stderr) = Agent::fail(&home, &[("AMBIENT_IPV6", "perhaps")]).await;
    assert!(!status.success());
    assert_eq!(stderr, "ambit-agent: environment: AMBIENT_IPV6=\"perhaps\" is not true or false\n");
}

#[tokio::test]
async fn what_is_missing_is_named_at_the_start() {
    if !privileged() {
        return;
    }
    let home = Home::new();
    let (status, stderr) = Agent::fail(&home, &[("PATH", "/nonexistent")]).await;
    assert!(!status.success());
    let expected =
        "ambit-agent: trying out the rules: nft is not installed: install the package nftables";
    assert!(stderr.starts_with(expected), "{stderr}");
    let socket = home.path().join("file/ztunnel.sock");
    std::fs::write(home.path().join("file"), "").unwrap();
    let env = [("ZTUNNEL_UDS_ADDRESS", socket.to_str().unwrap())];
    let (status, stderr) = Agent::fail(&home, &env).await;
    assert!(!status.success());
    assert!(stderr.contains("making the directory of ztunnel's socket"), "{stderr}");
}

#[tokio::test]
async fn rules_that_somebody_takes_out_come_back() {
    if !privileged() {
        return;
    }
    let home = Home::new();
    let agent = Agent::start(&home, &[("AMBIT_VERIFY_INTERVAL", "100ms")]).await;
    let mut ztunnel = Ztunnel::connect(&home).await;
    ztunnel.expect_snapshot(&[]).await;
    let pod = Pod::new("u1");
    let adding = agent.add(&pod);
    ztunnel.expect_add("u1").await;
    adding.await.unwrap().unwrap();
    pod.run("nft delete table inet istio-ambient-nat");
    eventually("the rules are back", async || pod.has_rules()).await;
    eventually("the repair is counted", async || {
        agent.get("/metrics").await.contains("ambit_agent_repairs_total 1")
    })
    .await;
    agent.wait_for_log("somebody has changed the rules of a pod").await;
}

#[tokio::test]
async fn without_a_ztunnel_a_source_learns_what_is_missing() {
    if !privileged() {
        return;
    }
    let home = Home::new();
    let agent = Agent::start(&home, &[("AMBIT_REQUEST_TIMEOUT", "300ms")]).await;
    let pod = Pod::new("u1");
    let error = agent.add(&pod).await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ControlError::Refused(text) if text.contains("no ztunnel is connected")),
        "{error}"
    );
    // It goes on without the mesh, and joins it when there is one.
    assert!(pod.is_clean());
    let mut ztunnel = Ztunnel::connect(&home).await;
    ztunnel.expect_snapshot(&["u1"]).await;
    agent.add(&pod).await.unwrap().unwrap();
    assert!(pod.has_rules());
}

#[tokio::test]
async fn bad_requests_get_an_answer_each() {
    if !privileged() {
        return;
    }
    let home = Home::new();
    let agent = Agent::start(&home, &[]).await;
    let pod = Pod::new("u1");
    for (spec, expected) in [
        (PodSpec { netns: "/missing".into(), ..pod.spec.clone() }, "network namespace /missing"),
        (PodSpec { netns: "/proc/self/ns/net".into(), ..pod.spec.clone() }, "the agent's own"),
        (PodSpec { name: String::new(), ..pod.spec.clone() }, "field name"),
        (
            PodSpec { resolv_conf: Some("/missing".into()), ..pod.spec.clone() },
            "resolver configuration /missing",
        ),
    ] {
        let error = agent.control().await.add(&spec).await.unwrap_err();
        assert!(
            matches!(&error, ControlError::Refused(text) if text.contains(expected)),
            "{error}"
        );
    }
    let mut stream = BufReader::new(agent.raw_control().await);
    for (line, expected) in [
        ("{\n", r#"{"error":"not a request: "#),
        ("{\"purge\":{}}\n", r#"{"error":"not a request: unknown variant"#),
        ("{\"remove\":{\"uid\":\"nobody\"}}\n", r#"{"ok":true}"#),
    ] {
        stream.get_mut().write_all(line.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_line(&mut reply).await.unwrap();
        assert!(reply.starts_with(expected), "{reply}");
    }
    stream.get_mut().write_all(&vec![b' '; 70_000]).await.unwrap();
    let mut reply = String::new();
    stream.read_line(&mut reply).await.unwrap();
    assert_eq!(reply, "{\"error\":\"the line is longer than 65536 bytes\"}\n");
    assert!(!pod.has_rules());
}

#[tokio::test]
async fn a_namespace_has_one_pod_and_iptables_will_do() {
    if !privileged() {
        return;
    }
    let home = Home::new();
    let agent = Agent::start(&home, &[("NATIVE_NFTABLES", "false")]).await;
    let mut ztunnel = Ztunnel::connect(&home).await;
    ztunnel.expect_snapshot(&[]).await;
    let pod = Pod::new("u1");
    let adding = agent.add(&pod);
    ztunnel.expect_add("u1").await;
    adding.await.unwrap().unwrap();
    // A second pod in the namespace of the first.
    let twin = PodSpec { uid: "u2".into(), ..pod.spec.clone() };
    let error = agent.control().await.add(&twin).await.unwrap_err();
    assert!(error.to_string().contains("is that of pod u1"), "{error}");
    let health = agent.get("/readyz").await;
    assert!(health.ends_with("ready\n"), "{health}");
    tokio::time::timeout(Duration::from_millis(100), ztunnel.client.recv())
        .await
        .expect_err("ztunnel must not hear of it");
}
