//! `ambit check` of an installed mesh: asks the API server, every ztunnel and every controller.

use std::collections::BTreeMap;
use std::time::SystemTime;

use ambit_model::Finding;
use ambit_telemetry::Chain;
use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Container, Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;

use super::actor::Actor;
use super::installed::{self, Capture, Progress};
use super::policies::{self, Member, Mesh};
use super::report::Report;
use crate::cluster::{Cluster, ROOTS};
use crate::dump::{self, Held};

/// How many pods are asked at once.
const AT_ONCE: usize = 8;
/// The controller's diagnostics, on the loopback of its pod.
const CONTROLLER_ADMIN: u16 = 15014;
/// The label that puts pods into the mesh, and the annotation of those that are (protocol.md 5.4).
const MODE: &str = "istio.io/dataplane-mode";
const REDIRECTION: &str = "ambient.istio.io/redirection";
/// A pod with a sidecar is kept out.
const SIDECAR: &str = "sidecar.istio.io/status";
/// The namespace that agents keep out.
const EXCLUDED: &str = "kube-system";
/// Pods of the mesh itself, by their label `app`.
const OWN: [&str; 3] = ["ambit-controller", "ambit-agent", "ztunnel"];

#[derive(Deserialize)]
struct Objects {
    generation: u64,
}

#[derive(Deserialize)]
struct Client {
    node: String,
    acked: u64,
    refused: Option<String>,
}

/// Looks at everything.
///
/// # Errors
/// The API server cannot be asked.
pub(super) async fn look(cluster: &Cluster, namespace: &str) -> Result<Report> {
    let mut report = Report::default();
    let [controllers, _, ztunnels] = programs(cluster, namespace, &mut report).await?;
    let published = of_roots(cluster, namespace, &mut report).await?;
    of_pods(cluster, namespace, &mut report).await?;
    let progress = progress(cluster, namespace, &controllers, &mut report).await;
    let running = ztunnels.iter().filter(|actor| actor.address.is_ok());
    let asked =
        running.map(|actor| async move { (actor, held(cluster, namespace, &actor.name).await) });
    let mut asked = stream::iter(asked).buffered(AT_ONCE);
    while let Some((actor, held)) = asked.next().await {
        let findings = match held {
            Ok(held) => vec![
                installed::certificates(&held, SystemTime::now()),
                installed::roots(&held, &published),
                installed::sync(progress.get(&actor.node)),
            ],
            Err(error) => vec![unanswered("ztunnel", &error)],
        };
        report.add_of(&actor.node, findings);
    }
    Ok(report)
}

/// The certificates that a ztunnel holds.
pub(crate) async fn held(cluster: &Cluster, namespace: &str, ztunnel: &str) -> Result<Vec<Held>> {
    let dump = cluster.get(namespace, ztunnel, dump::ADMIN_PORT, dump::PATH).await?;
    dump::certificates(&dump).with_context(|| format!("Pod {namespace}/{ztunnel}"))
}

fn unanswered(check: &str, error: &anyhow::Error) -> Finding {
    let next = "it takes the right to create pods/portforward; kubectl logs says whether the process is well";
    Finding::bad(check, Chain(&**error).to_string(), next)
}

/// Controllers, agents and ztunnels.
async fn programs(
    cluster: &Cluster,
    namespace: &str,
    report: &mut Report,
) -> Result<[Vec<Actor>; 3]> {
    let mut all = [const { Vec::new() }; 3];
    for (actors, (app, kind, field)) in all.iter_mut().zip([
        (OWN[0], "Deployment", "/spec/replicas"),
        (OWN[1], "DaemonSet", "/status/desiredNumberScheduled"),
        (OWN[2], "DaemonSet", "/status/desiredNumberScheduled"),
    ]) {
        let object = cluster.named("apps", kind, namespace).get(app).await.with_context(|| {
            format!("{kind} {namespace}/{app}: `ambit install` makes it, --namespace names another place")
        })?;
        let wanted = object.data.pointer(field).and_then(serde_json::Value::as_i64).unwrap_or(0);
        let pods = cluster.pods(namespace, &format!("app={app}")).await?;
        *actors = pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .filter_map(Actor::of)
            .collect();
        report.add(match kind {
            "Deployment" => installed::controller(wanted, actors),
            _ => installed::daemon(app, wanted, actors),
        });
    }
    let images: Vec<&str> = all.iter().flatten().map(|actor| actor.image.as_str()).collect();
    report.add(installed::versions(&images));
    Ok(all)
}

/// The roots that are published, and whether every namespace has them.
async fn of_roots(
    cluster: &Cluster,
    namespace: &str,
    report: &mut Report,
) -> Result<Vec<CertificateDer<'static>>> {
    let copies = cluster.root_copies().await?;
    let own = copies.get(namespace).cloned().flatten().unwrap_or_default();
    let is_wrong = |(_, text): &(&String, &Option<String>)| text.as_ref() != Some(&own);
    let wrong: Vec<String> = copies.iter().filter(is_wrong).map(|(name, _)| name.clone()).collect();
    report.add(installed::copies(copies.len(), &wrong));
    ambit_tls::pem::certificates(own.as_bytes())
        .with_context(|| format!("ConfigMap {namespace}/{ROOTS}"))
}

/// Who is captured, and which policies are in the way.
async fn of_pods(cluster: &Cluster, namespace: &str, report: &mut Report) -> Result<()> {
    let namespaces: Vec<Namespace> = cluster.all().await?;
    let modes: BTreeMap<String, Option<String>> =
        namespaces.iter().map(|one| (one.name_any(), one.labels().get(MODE).cloned())).collect();
    let pods: Vec<Pod> = cluster.all().await?;
    let captures: Vec<Capture> = pods.iter().map(|pod| capture(pod, &modes, namespace)).collect();
    report.add(installed::captures(&captures));
    let captured = pods.iter().zip(&captures).filter(|(_, capture)| capture.captured);
    let members: Vec<Member> = captured.map(|(pod, _)| member(pod)).collect();
    let is_enrolled = |name: &String, mode: &Option<String>| {
        mode.as_deref() == Some("ambient") || members.iter().any(|member| member.namespace == *name)
    };
    let mesh = Mesh {
        enrolled: modes
            .iter()
            .filter(|(name, mode)| is_enrolled(name, mode))
            .map(|(name, _)| name.clone())
            .collect(),
        namespaces: namespaces.iter().map(|one| (one.name_any(), one.labels().clone())).collect(),
        // Cilium knows a probe by its source, which it takes for a stranger's.
        probes_are_judged: pods
            .iter()
            .any(|pod| pod.labels().get("k8s-app").is_some_and(|app| app == "cilium")),
        members,
    };
    let all: Vec<NetworkPolicy> = cluster.all().await?;
    let complaints = policies::lint(&all, &mesh);
    if complaints.is_empty() {
        report.add(Finding::good("NetworkPolicy", "none is in the way of the mesh"));
    }
    for complaint in complaints {
        let found = format!("{}: {}", complaint.policy, complaint.stops);
        report.add(Finding::bad("NetworkPolicy", found, "add the policy below"));
        report.propose(complaint.remedy);
    }
    Ok(())
}

fn capture(pod: &Pod, modes: &BTreeMap<String, Option<String>>, system: &str) -> Capture {
    let namespace = pod.namespace().unwrap_or_default();
    let spec = pod.spec.as_ref();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let app = pod.labels().get("app").map(String::as_str).unwrap_or_default();
    let is_kept_out = phase != Some("Running")
        || spec.and_then(|spec| spec.host_network) == Some(true)
        || pod.annotations().contains_key(SIDECAR)
        || namespace == EXCLUDED
        || (namespace == system && OWN.contains(&app));
    let mode = modes.get(&namespace).and_then(Option::as_deref);
    let is_ended = matches!(phase, Some("Succeeded" | "Failed"));
    Capture {
        pod: format!("{namespace}/{}", pod.name_any()),
        wanted: installed::is_wanted(pod.labels().get(MODE).map(String::as_str), mode, is_kept_out),
        captured: !is_ended
            && pod.annotations().get(REDIRECTION).is_some_and(|state| state == "enabled"),
    }
}

fn member(pod: &Pod) -> Member {
    let status = pod.status.as_ref();
    let ips = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten();
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let is_probed = |container: &Container| {
        [&container.liveness_probe, &container.readiness_probe, &container.startup_probe]
            .into_iter()
            .flatten()
            .any(|probe| probe.exec.is_none())
    };
    Member {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        labels: pod.labels().clone(),
        ips: ips.filter_map(|ip| ip.ip.parse().ok()).collect(),
        ready: conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True"),
        probed: pod.spec.as_ref().is_some_and(|spec| spec.containers.iter().any(is_probed)),
    }
}

/// How far the proxies of each node have come, as their controllers see it.
async fn progress(
    cluster: &Cluster,
    namespace: &str,
    controllers: &[Actor],
    report: &mut Report,
) -> BTreeMap<String, Progress> {
    let mut nodes = BTreeMap::new();
    for controller in controllers.iter().filter(|actor| actor.address.is_ok()) {
        let get =
            async |path| cluster.get(namespace, &controller.name, CONTROLLER_ADMIN, path).await;
        let asked = async {
            let objects: Objects = serde_json::from_slice(&get("/debug/objects").await?)?;
            let clients: Vec<Client> = serde_json::from_slice(&get("/debug/clients").await?)?;
            anyhow::Ok((objects.generation, clients))
        };
        match asked.await {
            Ok((published, clients)) => nodes.extend(clients.into_iter().map(|client| {
                let Client { node, acked, refused } = client;
                (node, Progress { published, acked, refused })
            })),
            Err(error) => report.add(unanswered("controller", &error)),
        }
    }
    nodes
}
