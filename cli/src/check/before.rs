//! `ambit check --pre`: before the installation.

use std::time::{Duration, SystemTime};

use ambit_model::Finding;
use ambit_telemetry::Chain;
use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use super::actor::Actor;
use super::report::Report;
use super::stage::{ORDINARY, PRIVILEGED, Stage};
use super::{rights, verdict};
use crate::cluster::Cluster;
use crate::manifests::{Settings, objects};
use crate::signals::Signals;

/// How many pods are asked at once.
const AT_ONCE: usize = 16;

/// Looks at the cluster, then at each of its nodes.
///
/// # Errors
/// The cluster cannot be asked, or does not let pods be made; nothing is left behind, also after a signal.
pub(super) async fn look(cluster: &Cluster, settings: &Settings, wait: Duration) -> Result<Report> {
    let mut signals = Signals::new()?;
    let mut report = Report::default();
    let objects = objects(settings)?;
    of_cluster(cluster, &objects, &mut report).await?;
    let stage = Stage::new(agent_image(&objects)?);
    let looked = tokio::select! {
        looked = of_nodes(cluster, &stage, wait, &mut report) => looked,
        () = signals.any() => Err(anyhow::anyhow!("interrupted")),
    };
    let removed = stage.remove(cluster).await;
    looked.and(removed)?;
    Ok(report)
}

/// What the API server alone can tell.
async fn of_cluster(cluster: &Cluster, objects: &[Value], report: &mut Report) -> Result<()> {
    let version = cluster.version().await?;
    report.add(verdict::version(&version.major, &version.minor, &version.git_version));
    let (all, missing) = rights::missing(cluster, objects).await?;
    report.add(verdict::rights(all, &missing));
    report.add(verdict::gateway_api(&cluster.groups().await?));
    Ok(())
}

/// What takes a pod on every node.
async fn of_nodes(
    cluster: &Cluster,
    stage: &Stage,
    wait: Duration,
    report: &mut Report,
) -> Result<()> {
    stage.set_up(cluster, wait).await?;
    let service = stage.service(cluster).await?;
    let privileged = stage.actors(cluster, PRIVILEGED).await?;
    let ordinary = stage.actors(cluster, ORDINARY).await?;
    if privileged.is_empty() {
        bail!("no pod was started on any node within {wait:?}: kubectl get nodes, and --wait");
    }
    // Our own clock does not matter: only how far the API server's is from it.
    let asked = SystemTime::now();
    let date = verdict::date(&cluster.date().await?)?;
    let now = move || date + asked.elapsed().unwrap_or_default();
    let looks = privileged.iter().map(|actor| {
        let beside = ordinary.iter().find(|other| other.node == actor.node);
        let peers = ordinary.iter().filter(|other| other.node != actor.node);
        let mut of_network = vec!["network".to_owned(), service.clone()];
        of_network.extend(
            peers.filter_map(|peer| Some(format!("{}={}", peer.node, peer.address.as_ref().ok()?))),
        );
        async move {
            let mut findings = look_at_node(cluster, stage, actor, beside, now).await;
            match beside {
                Some(beside) => {
                    findings.extend(look_from(cluster, stage, beside, of_network).await)
                }
                None => findings.push(not_running(ORDINARY, "none was made")),
            }
            (actor.node.clone(), findings)
        }
    });
    let mut found = stream::iter(looks).buffered(AT_ONCE);
    while let Some((node, findings)) = found.next().await {
        report.add_of(&node, findings);
    }
    Ok(())
}

/// What the agent finds out about its node.
async fn look_at_node(
    cluster: &Cluster,
    stage: &Stage,
    actor: &Actor,
    beside: Option<&Actor>,
    now: impl Fn() -> SystemTime,
) -> Vec<Finding> {
    let mut arguments = vec!["node".to_owned()];
    if let Some(beside) = beside
        && let Ok(ip) = &beside.address
    {
        let since = now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        arguments.extend([since.as_secs().to_string(), beside.uid.clone(), ip.to_string()]);
    }
    look_from(cluster, stage, actor, arguments).await
}

/// What the agent prints in a pod.
async fn look_from(
    cluster: &Cluster,
    stage: &Stage,
    actor: &Actor,
    arguments: Vec<String>,
) -> Vec<Finding> {
    if let Err(problem) = &actor.address {
        return vec![not_running(&actor.name, problem)];
    }
    let read = |text: String| {
        let lines = text.lines().map(serde_json::from_str::<Finding>);
        lines.collect::<Result<Vec<_>, _>>().context("what the agent printed is not understood")
    };
    match stage.run(cluster, &actor.name, arguments).await.and_then(read) {
        Ok(findings) => findings,
        Err(error) => {
            let next = "use an image of the agent that has `ambit-agent check` (--registry, --tag)";
            vec![Finding::bad("agent", Chain(&*error).to_string(), next)]
        }
    }
}

fn not_running(pod: &str, problem: &str) -> Finding {
    Finding::bad(
        "pod",
        format!("{pod} does not run: {problem}"),
        "see to it that the node runs pods and gets the image (--registry, --tag, --wait)",
    )
}

/// The image that the installation will have on every node.
fn agent_image(objects: &[Value]) -> Result<&str> {
    let agent = objects.iter().find(|object| {
        object["metadata"]["name"] == "ambit-agent" && object["kind"] == "DaemonSet"
    });
    let image = agent.and_then(|agent| agent.pointer("/spec/template/spec/containers/0/image"));
    image.and_then(Value::as_str).context("the manifests have no agent")
}
