//! The agent with Kubernetes as its source of pods, and the CNI plugin.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ambit_net::NetNs;
use ambit_zds::Request;
use serde_json::{Value, json};

use crate::api::Api;
use crate::rig::{Agent, Home, Pod, Ztunnel, eventually, privileged};

/// A node with an API server and an agent.
struct Node {
    netns: NetNs,
    api: Api,
    home: Home,
}

impl Node {
    fn new() -> Self {
        let pod = Pod::new("node");
        let api = Api::start(&pod.netns);
        let home = Home::new();
        for dir in ["bin", "net", "account"] {
            std::fs::create_dir(home.path().join(dir)).unwrap();
        }
        let chain = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "ptp"}]});
        for (name, content) in [
            ("kubeconfig", api.kubeconfig()),
            ("plugin", "a program".to_owned()),
            ("account/token", "a token".to_owned()),
            ("account/ca.crt", "a certificate".to_owned()),
            ("net/10-net.conflist", chain.to_string()),
        ] {
            std::fs::write(home.path().join(name), content).unwrap();
        }
        Self { netns: pod.netns, api, home }
    }

    async fn agent(&self) -> Agent {
        let env = self.env();
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Agent::start_in(&self.home, &env, &self.netns).await
    }

    fn env(&self) -> Vec<(&'static str, String)> {
        let at = |name: &str| self.home.path().join(name).to_str().unwrap().to_owned();
        vec![
            ("AMBIT_KUBERNETES", "true".into()),
            ("NODE_NAME", "node1".into()),
            ("AMBIT_REQUEST_TIMEOUT", "300ms".into()),
            ("KUBECONFIG", at("kubeconfig")),
            ("KUBERNETES_SERVICE_HOST", "10.96.0.1".into()),
            ("KUBERNETES_SERVICE_PORT", "443".into()),
            ("AMBIT_CNI_PLUGIN", at("plugin")),
            ("AMBIT_SERVICE_ACCOUNT_DIR", at("account")),
            ("CNI_BIN_DIR", at("bin")),
            ("CNI_NET_DIR", at("net")),
        ]
    }

    fn chain(&self) -> String {
        std::fs::read_to_string(self.home.path().join("net/10-net.conflist")).unwrap()
    }

    fn rules(&self) -> String {
        let list = || Command::new("nft").args(["list", "ruleset"]).output();
        String::from_utf8(self.netns.enter(list).unwrap().unwrap().stdout).unwrap()
    }

    async fn redirection(&self, pod: &str, expected: Option<&str>) {
        eventually(&format!("{pod} is annotated {expected:?}"), async || {
            self.api.redirection(pod).as_deref() == expected
        })
        .await;
    }

    /// Runs the real plugin: whether it passed the pod, and what it wrote.
    async fn plugin(&self, netns: &Path, namespace: &str, pod: &str) -> (bool, Value) {
        let conf = json!({
            "cniVersion": "1.0.0", "name": "net", "type": "ambit-cni",
            "cni_agent_run_dir": self.home.path().join("run"),
            "kubeconfig": self.home.path().join("kubeconfig"),
            "last_list": self.home.path().join("namespaces"),
            "exclude_namespaces": ["kube-system"], "pod_namespace": "istio-system",
            "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.5/24"}]},
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_ambit-cni"));
        command
            .env("CNI_COMMAND", "ADD")
            .env("CNI_NETNS", netns)
            .env("CNI_ARGS", format!("K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={pod}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = self.netns.enter(|| command.spawn().unwrap()).unwrap();
        child.stdin.take().unwrap().write_all(conf.to_string().as_bytes()).unwrap();
        let running = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        let output = running.await.unwrap();
        let answer = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.success(), answer)
    }
}

/// A process in a pod's namespace and in a cgroup as the kubelet makes them; both end with the value.
struct Process {
    child: Child,
    cgroup: PathBuf,
}

impl Process {
    /// `None` where no cgroup can be made (a failure where `CI=true`).
    fn new(pod: &Pod, uid: &str) -> Option<Self> {
        let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"];
        let made = places.iter().find_map(|place| {
            let place = Path::new(place);
            place.join("cgroup.procs").exists().then_some(())?;
            let cgroup = place.join(format!("ambit-test-pod{uid}"));
            std::fs::create_dir(&cgroup).is_ok().then_some(cgroup)
        });
        let Some(parent) = made else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot skip in CI: no cgroups");
            let _ = writeln!(std::io::stderr(), "skipped: no cgroup can be made");
            return None;
        };
        let mut command = Command::new("sleep");
        let child = pod.netns.enter(|| command.arg("1000").spawn().unwrap()).unwrap();
        std::fs::write(parent.join("cgroup.procs"), child.id().to_string()).unwrap();
        Some(Self { child, cgroup: parent })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for _ in 0..100 {
            // Emptied a moment after its last process.
            if std::fs::remove_dir(&self.cgroup).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[tokio::test]
async fn running_pods_follow_their_labels() {
    // A process list is the whole machine's, so each test has a UID of its own.
    const UID: &str = "0fe83b4c-1b66-4f43-8bb4-2b9f1e0e5a11";
    if !privileged() {
        return;
    }
    let node = Node::new();
    node.api.namespace("shop", None);
    node.api.pod(UID, "shop", "cart", Some("10.0.0.5"));
    let pod = Pod::new(UID);
    let Some(_process) = Process::new(&pod, UID) else { return };
    let agent = node.agent().await;
    let mut ztunnel = Ztunnel::connect(&node.home).await;
    ztunnel.expect_snapshot(&[]).await;

    node.api.namespace("shop", Some("ambient"));
    let Request::Add { uid, info, netns } = ztunnel.next().await else { panic!() };
    assert_eq!(
        (uid.as_str(), info.name.as_str(), info.service_account.as_str()),
        (UID, "cart", "sa")
    );
    assert_eq!(NetNs::from_fd(netns).unwrap(), pod.netns);
    // A ztunnel that hesitates: the control plane must not count on the pod yet.
    node.redirection("shop/cart", Some("pending")).await;
    assert!(!pod.has_rules());
    ztunnel.ack().await;
    node.redirection("shop/cart", Some("enabled")).await;
    assert!(pod.has_rules());
    assert!(node.rules().contains("10.0.0.5"), "{}", node.rules());

    node.api.namespace("shop", None);
    assert!(matches!(ztunnel.next().await, Request::Del { uid } if uid == UID));
    assert!(!pod.has_rules() && !node.rules().contains("10.0.0.5"));
    ztunnel.ack().await;
    node.redirection("shop/cart", None).await;

    // A restarted agent lets go of whatever has left the mesh meanwhile.
    node.api.namespace("shop", Some("ambient"));
    ztunnel.expect_add(UID).await;
    node.redirection("shop/cart", Some("enabled")).await;
    agent.terminate().await;
    assert!(pod.has_rules() && node.rules().contains("10.0.0.5"));
    node.api.delete("pods", "shop/cart");
    let agent = node.agent().await;
    let mut ztunnel = Ztunnel::connect(&node.home).await;
    eventually("the pod is forgotten", async || {
        ztunnel.try_ack().await;
        agent.get_in(&node.netns, "/metrics").contains(r#"pods{state="served"} 0"#)
            && !node.rules().contains("10.0.0.5")
    })
    .await;
}

#[tokio::test]
async fn a_new_pod_waits_for_its_capture() {
    // A process list is the whole machine's, so each test has a UID of its own.
    const UID: &str = "0fe83b4c-1b66-4f43-8bb4-2b9f1e0e5a12";
    if !privileged() {
        return;
    }
    let node = Node::new();
    node.api.namespace("shop", Some("ambient"));
    node.api.namespace("bank", None);
    node.api.pod(UID, "shop", "cart", None);
    node.api.pod("other", "bank", "till", None);
    let pod = Pod::new(UID);
    let agent = node.agent().await;
    let mut ztunnel = Ztunnel::connect(&node.home).await;
    ztunnel.expect_snapshot(&[]).await;

    // Not served in time, so it must not start; the kubelet tries again.
    let (passed, answer) = node.plugin(&pod.spec.netns, "shop", "cart").await;
    assert!(!passed && answer["code"] == 11, "{answer}");
    ztunnel.expect_add(UID).await;
    eventually("the pod may start", async || {
        let (passed, answer) = node.plugin(&pod.spec.netns, "shop", "cart").await;
        passed && answer["ips"][0]["address"] == "10.0.0.5/24"
    })
    .await;
    assert!(pod.has_rules() && node.rules().contains("10.0.0.5"), "{}", node.rules());
    node.redirection("shop/cart", Some("enabled")).await;

    // The pod outside the mesh is none of ours.
    let outside = Pod::new("other");
    let (passed, _) = node.plugin(&outside.spec.netns, "bank", "till").await;
    assert!(passed && !outside.has_rules());

    // Without an agent, the API server knows; without that, the last list.
    agent.terminate().await;
    let (passed, answer) = node.plugin(&pod.spec.netns, "shop", "cart").await;
    let message = answer["msg"].as_str().unwrap();
    assert!(!passed && message.contains("is in the mesh and ambit-agent cannot"), "{message}");
    assert!(node.plugin(&outside.spec.netns, "bank", "till").await.0);
    assert!(node.plugin(&outside.spec.netns, "kube-system", "dns").await.0);

    let gone = node.api.kubeconfig().replace("127.0.0.1:", "127.0.0.9:");
    std::fs::write(node.home.path().join("kubeconfig"), gone).unwrap();
    assert!(!node.plugin(&outside.spec.netns, "bank", "till").await.0, "no list");
    let list = json!({"namespaces": ["shop"]}).to_string();
    std::fs::write(node.home.path().join("namespaces"), list).unwrap();
    assert!(!node.plugin(&pod.spec.netns, "shop", "cart").await.0);
    assert!(node.plugin(&outside.spec.netns, "bank", "till").await.0);
    let log = std::fs::read_to_string(node.home.path().join("run/ambit-cni.log")).unwrap();
    assert!(log.lines().count() >= 8 && log.contains("ADD shop/cart refuse"), "{log}");
}

#[tokio::test]
async fn uninstalling_leaves_nothing() {
    // A process list is the whole machine's, so each test has a UID of its own.
    const UID: &str = "0fe83b4c-1b66-4f43-8bb4-2b9f1e0e5a13";
    if !privileged() {
        return;
    }
    let node = Node::new();
    node.api.namespace("shop", Some("ambient"));
    node.api.pod(UID, "shop", "cart", None);
    let pod = Pod::new(UID);
    let agent = node.agent().await;
    let mut ztunnel = Ztunnel::connect(&node.home).await;
    ztunnel.expect_snapshot(&[]).await;
    let (plugin, ()) =
        tokio::join!(node.plugin(&pod.spec.netns, "shop", "cart"), ztunnel.expect_add(UID));
    assert!(plugin.0, "{}", plugin.1);
    node.redirection("shop/cart", Some("enabled")).await;
    agent.wait_for_log("CNI plugin installed").await;
    assert!(agent.get_in(&node.netns, "/readyz").contains("200 OK"));
    let metrics = || agent.get_in(&node.netns, "/metrics");
    eventually("the metric", async || metrics().contains("ambit_agent_cni_installed 1")).await;
    agent.terminate().await;
    assert!(pod.has_rules() && !node.rules().is_empty());

    assert!(node.chain().contains("ambit-cni"));
    let list = std::fs::read_to_string(node.home.path().join("net/ambit-cni.namespaces")).unwrap();
    assert_eq!(list, "{\"namespaces\":[\"shop\"]}\n");

    let env = node.env();
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut command = node.home.command(&env);
    command.arg("uninstall");
    let child = node.netns.enter(|| command.spawn().unwrap()).unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let output = ended.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!pod.has_rules(), "{}", pod.run("nft list ruleset"));
    assert_eq!(node.rules(), "");
    assert_eq!(node.api.redirection("shop/cart"), None);
    assert!(!node.chain().contains("ambit-cni"));
    assert_eq!(std::fs::read_dir(node.home.path().join("net")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(node.home.path().join("bin")).unwrap().count(), 0);
}
