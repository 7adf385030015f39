//! Which pods should run, and on which nodes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use xxhash_rust::xxh64::xxh64;

use super::{Objects, PodKey};
use crate::manifest::{Object, ObjectRef};

/// One pod that should run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodPlan {
    pub(crate) key: PodKey,
    /// The Deployment it belongs to, and the hash in its pods' names.
    pub(crate) owner: Option<(String, String)>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) spec: PodSpec,
    /// Changes when the pod has to be started anew.
    pub(crate) hash: u64,
    pub(crate) node: String,
}

/// A node that pods can be put on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeLabels {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
}

/// What the plan has to know about a pod that runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Running {
    pub(crate) owner: Option<(String, String)>,
    pub(crate) node: String,
    pub(crate) ready: bool,
}

/// What should run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) pods: BTreeMap<PodKey, PodPlan>,
    /// Pods of an older template of their Deployment, which go when those of the new one are ready.
    pub(crate) retained: BTreeSet<PodKey>,
    /// Objects that no pod can be made of, and why.
    pub(crate) problems: Vec<(ObjectRef, String)>,
}

/// Decides what should run, given what does.
pub(crate) fn plan(
    objects: &Objects,
    nodes: &[NodeLabels],
    running: &BTreeMap<PodKey, Running>,
) -> Plan {
    let mut plan = Plan::default();
    for (key, object) in &objects.0 {
        let pods = match object {
            Object::Pod(pod) => {
                pod.spec.as_ref().map(|spec| vec![single(key, &pod.metadata, spec)])
            }
            Object::Deployment(deployment) => replicas(key, deployment),
            _ => None,
        };
        for pod in pods.into_iter().flatten() {
            if let Some(other) = plan.pods.get(&pod.key) {
                let owner = other.owner.as_ref().map_or("a Pod", |_| "a Deployment");
                let problem = format!("metadata.name: {owner} has a pod {} already", pod.key);
                plan.problems.push((key.clone(), problem));
                continue;
            }
            plan.pods.insert(pod.key.clone(), pod);
        }
    }
    place(&mut plan, nodes, running);
    plan.retained = retained(&plan.pods, running);
    plan
}

fn single(key: &ObjectRef, metadata: &ObjectMeta, spec: &PodSpec) -> PodPlan {
    PodPlan {
        key: PodKey::new(&key.namespace, &key.name),
        owner: None,
        labels: metadata.labels.clone().unwrap_or_default(),
        annotations: metadata.annotations.clone().unwrap_or_default(),
        spec: spec.clone(),
        hash: hash(spec),
        node: String::new(),
    }
}

fn replicas(key: &ObjectRef, deployment: &Deployment) -> Option<Vec<PodPlan>> {
    let template = &deployment.spec.template;
    let spec = template.spec.as_ref()?;
    let hash = hash(template);
    let suffix = format!("{:08x}", hash & 0xffff_ffff);
    let metadata = template.metadata.clone().unwrap_or_default();
    let mut labels = metadata.labels.unwrap_or_default();
    labels.insert("pod-template-hash".to_owned(), suffix.clone());
    let pod = |index| PodPlan {
        key: PodKey::new(&key.namespace, &format!("{}-{suffix}-{index}", key.name)),
        owner: Some((key.name.clone(), suffix.clone())),
        labels: labels.clone(),
        annotations: metadata.annotations.clone().unwrap_or_default(),
        spec: spec.clone(),
        hash,
        node: String::new(),
    };
    Some((0..deployment.spec.replicas.unwrap_or(1)).map(pod).collect())
}

fn hash(value: &impl serde::Serialize) -> u64 {
    xxh64(&serde_json::to_vec(value).unwrap_or_default(), 0)
}

/// Gives each pod a node: where it runs already, where it says, or where the fewest are.
fn place(plan: &mut Plan, nodes: &[NodeLabels], running: &BTreeMap<PodKey, Running>) {
    let mut load: BTreeMap<&str, usize> = nodes.iter().map(|node| (&*node.name, 0)).collect();
    for (key, _) in plan.pods.iter().filter(|(key, _)| running.contains_key(key)) {
        if let Some(count) = running.get(key).and_then(|pod| load.get_mut(&*pod.node)) {
            *count += 1;
        }
    }
    let mut homeless = Vec::new();
    for pod in plan.pods.values_mut() {
        let allowed = |node: &&NodeLabels| allows(node, &pod.spec);
        let settled = running.get(&pod.key).map(|there| there.node.as_str());
        let candidates = nodes.iter().filter(allowed);
        let chosen = match settled.filter(|node| candidates.clone().any(|c| c.name == **node)) {
            Some(node) => Some(node.to_owned()),
            None => candidates
                .min_by_key(|node| load.get(&*node.name).copied().unwrap_or_default())
                .map(|node| node.name.clone()),
        };
        match chosen {
            Some(node) => {
                if settled != Some(&node)
                    && let Some(count) = load.get_mut(&*node)
                {
                    *count += 1;
                }
                pod.node = node;
            }
            None => homeless.push(pod.key.clone()),
        }
    }
    let names: Vec<&str> = nodes.iter().map(|node| &*node.name).collect();
    for key in homeless {
        plan.pods.remove(&key);
        let object = ObjectRef::new("Pod", &key.namespace, &key.name);
        let problem = format!(
            "spec.nodeName, spec.nodeSelector: no node fits; there are {}",
            names.join(", ")
        );
        plan.problems.push((object, problem));
    }
}

fn allows(node: &NodeLabels, spec: &PodSpec) -> bool {
    let named = spec.node_name.as_ref().is_none_or(|name| *name == node.name);
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| {
        node.labels.get(key) == Some(value)
            || (key == "kubernetes.io/hostname" && *value == node.name)
    });
    named && selected
}

/// Pods of an older template stay until every pod of the new one is ready.
fn retained(
    pods: &BTreeMap<PodKey, PodPlan>,
    running: &BTreeMap<PodKey, Running>,
) -> BTreeSet<PodKey> {
    let waiting: BTreeSet<(&str, &str)> = pods
        .values()
        .filter(|pod| !running.get(&pod.key).is_some_and(|there| there.ready))
        .filter_map(|pod| Some((&*pod.key.namespace, &*pod.owner.as_ref()?.0)))
        .collect();
    running
        .iter()
        .filter(|(key, _)| !pods.contains_key(key))
        .filter(|(key, there)| {
            let owner = there.owner.as_ref().map(|(name, _)| (&*key.namespace, &**name));
            owner.is_some_and(|owner| waiting.contains(&owner))
        })
        .map(|(key, _)| key.clone())
        .collect()
}
