//! Pods of every kind: probes, jobs, many at once.

use std::time::{Duration, Instant};

use super::kubectl::{apply, done, prints, prints_what};
use super::shop::{AMBIENT, Shop};
use super::{alone, together};

/// How many pods are made at once.
const CROWD: u32 = 100;

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn probes_of_every_kind_pass_under_strict() {
    let _cluster = together().await;
    let shop = Shop::empty("probes", AMBIENT).await;
    shop.strict().await;
    let probes = [
        ("http", "httpGet: {path: /, port: 8080}"),
        ("tcp", "tcpSocket: {port: 8080}"),
        ("grpc", "grpc: {port: 7070}"),
        ("exec", "exec: {command: [echo, call, 'http://127.0.0.1:8080/']}"),
    ];
    for (name, probe) in probes {
        apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: probes}}\nspec:\n  nodeName: node2\n  \
             terminationGracePeriodSeconds: 1\n  containers:\n  - name: c\n    image: ambit.test/echo:1\n    \
             imagePullPolicy: IfNotPresent\n    args: [serve, --http, '8080', --grpc, '7070']\n    \
             startupProbe: {{{probe}, periodSeconds: 1, failureThreshold: 30}}\n    \
             readinessProbe: {{{probe}, periodSeconds: 1}}\n    \
             livenessProbe: {{{probe}, periodSeconds: 1, failureThreshold: 1}}\n"
        ))
        .await;
    }
    shop.ready().await;
    // The kubelet counts them; the startup probe may fail before the program listens.
    for (name, _) in probes {
        for kind in ["Liveness", "Readiness"] {
            prints_what("get --raw /api/v1/nodes/node2/proxy/metrics/probes", |metrics| {
                let mine = |line: &&str| {
                    line.starts_with("prober_probe_total{")
                        && line.contains(&format!("pod=\"{name}\""))
                        && line.contains("namespace=\"probes\"")
                        && line.contains(&format!("probe_type=\"{kind}\""))
                };
                let lines: Vec<&str> = metrics.lines().filter(mine).collect();
                assert!(!lines.iter().any(|line| line.contains("result=\"failed\"")), "{lines:?}");
                let passed = lines.iter().find(|line| line.contains("result=\"successful\""));
                let count = passed.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
                count.is_some_and(|count| count >= 5.0)
            })
            .await;
        }
    }
    assert_eq!(shop.restarts().await, "0 0 0 0");
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn a_job_with_an_init_container_has_its_identity_from_the_start() {
    let _cluster = together().await;
    let shop = Shop::open("job", AMBIENT).await;
    shop.strict().await;
    shop.expect("outsider", "web", false).await;
    let ask = "{image: 'ambit.test/tools:1', imagePullPolicy: IfNotPresent, \
               command: [curl, -sSf, -m, '5', 'http://web/'], name: ";
    apply(&format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: once, namespace: job}}\nspec:\n  backoffLimit: 0\n  \
         template:\n    spec:\n      restartPolicy: Never\n      initContainers: [{ask}first}}]\n      \
         containers: [{ask}then}}]\n"
    ))
    .await;
    let path = "jsonpath={.status.succeeded}{.status.failed}";
    prints_what(&format!("get job once -n job -o {path}"), |ended| !ended.is_empty()).await;
    prints(&format!("get job once -n job -o {path}"), "1").await;
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn a_hundred_pods_at_once_start_about_as_fast_as_without_the_mesh() {
    let _cluster = alone().await;
    let plain = crowd("crowd", "").await;
    let captured = crowd("crowd-in-mesh", AMBIENT).await;
    println!("{CROWD} pods ready: {plain:.1?} without the mesh, {captured:.1?} in it");
    assert!(captured < plain * 3 / 2 + Duration::from_secs(5), "{captured:?} and {plain:?}");
}

/// How long it takes until so many pods are ready.
async fn crowd(name: &'static str, labels: &str) -> Duration {
    Shop::empty(name, labels).await;
    let begun = Instant::now();
    apply(&format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: crowd, namespace: {name}}}\nspec:\n  \
         replicas: {CROWD}\n  selector: {{matchLabels: {{app: crowd}}}}\n  template:\n    \
         metadata: {{labels: {{app: crowd}}}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      containers:\n      \
         - {{name: c, image: 'ambit.test/pause:1', imagePullPolicy: IfNotPresent}}\n"
    ))
    .await;
    done(&format!("rollout status -n {name} deployment/crowd --timeout=300s")).await;
    let taken = begun.elapsed();
    if !labels.is_empty() {
        let path = r"jsonpath={.items[*].metadata.annotations.ambient\.istio\.io/redirection}";
        let captured = done(&format!("get pods -n {name} -o {path}")).await;
        assert_eq!(captured.split(' ').filter(|mark| *mark == "enabled").count(), CROWD as usize);
    }
    done(&format!("delete namespace {name} --timeout=300s")).await;
    taken
}
