//! A waypoint as a Gateway: what is written, and what is read back. Pure.

use ambit_model::{GatewayClass, GatewayRole};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::{Value, json};

/// The label of objects that use a waypoint.
pub(super) const USE: &str = "istio.io/use-waypoint";
/// The label of namespaces in the mesh.
pub(super) const MODE: &str = "istio.io/dataplane-mode";
/// The label of pods and services of a Gateway.
pub(super) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// The label that says what traffic a waypoint is for.
const FOR: &str = "istio.io/waypoint-for";
/// The port of waypoints. (protocol facts 10.2.)
const HBONE_PORT: u16 = 15008;

/// A waypoint to be made.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) traffic: Option<String>,
    pub(super) class: String,
}

/// A waypoint that is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Waypoint {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) class: String,
    pub(super) traffic: String,
    pub(super) accepted: Option<Condition>,
    pub(super) programmed: Option<Condition>,
    pub(super) pods: Vec<PodState>,
}

/// A condition that is said of the Gateway's present content.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Condition {
    pub(super) holds: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

/// A pod of a waypoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PodState {
    pub(super) name: String,
    pub(super) ready: bool,
    /// Why it does not run, where that is known.
    pub(super) obstacle: Option<String>,
}

// === impl Plan ===

impl Plan {
    /// The Gateway.
    pub(super) fn object(&self) -> Value {
        let mut metadata = json!({ "name": self.name, "namespace": self.namespace });
        if let Some(traffic) = &self.traffic {
            metadata["labels"] = json!({ FOR: traffic });
        }
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": metadata,
            "spec": {
                "gatewayClassName": self.class,
                "listeners": [{ "name": "mesh", "port": HBONE_PORT, "protocol": "HBONE" }],
            },
        })
    }
}

// === impl Waypoint ===

impl Waypoint {
    /// Reads a Gateway; `None` for one that is no waypoint.
    pub(super) fn read(gateway: &DynamicObject, pods: &[Pod]) -> Option<Self> {
        let class = gateway.data["spec"]["gatewayClassName"].as_str()?;
        GatewayClass::named(class).filter(|class| class.role == GatewayRole::Waypoint)?;
        let (namespace, name) = (gateway.namespace().unwrap_or_default(), gateway.name_any());
        let own = |pod: &&Pod| {
            pod.namespace().as_deref() == Some(&*namespace)
                && pod.labels().get(GATEWAY_NAME) == Some(&name)
        };
        let pods = pods.iter().filter(own).map(PodState::read).collect();
        Some(Self {
            class: class.to_owned(),
            traffic: gateway.labels().get(FOR).cloned().unwrap_or_else(|| "service".to_owned()),
            accepted: condition(gateway, "Accepted"),
            programmed: condition(gateway, "Programmed"),
            namespace,
            name,
            pods,
        })
    }

    /// Whether it is programmed, in a word.
    pub(super) fn programmed(&self) -> &'static str {
        match &self.programmed {
            Some(Condition { holds: true, .. }) => "True",
            Some(_) => "False",
            None => "Unknown",
        }
    }

    /// How many of its pods are ready.
    pub(super) fn pods_ready(&self) -> String {
        let ready = self.pods.iter().filter(|pod| pod.ready).count();
        format!("{ready}/{}", self.pods.len())
    }
}

/// The condition, unless nobody has looked at the Gateway yet, or not since it has changed.
fn condition(gateway: &DynamicObject, kind: &str) -> Option<Condition> {
    let conditions = gateway.data["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    let observed = found["observedGeneration"].as_i64();
    let current = observed.is_none_or(|observed| Some(observed) == gateway.metadata.generation);
    // What the CRD says of every new Gateway.
    let said = current && text("status") != "Unknown";
    said.then(|| Condition {
        holds: text("status") == "True",
        reason: text("reason"),
        message: text("message"),
    })
}

// === impl PodState ===

impl PodState {
    fn read(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let ready = |kind: &str| {
            let mut all = status.conditions.iter().flatten();
            all.find(|condition| condition.type_ == kind)
        };
        let scheduled = ready("PodScheduled").filter(|condition| condition.status == "False");
        let containers = status.container_statuses.iter().flatten();
        let waiting = containers.filter_map(|c| c.state.as_ref()?.waiting.as_ref()).next();
        let words = |reason: &Option<String>, message: &Option<String>| {
            let parts = [reason.as_deref(), message.as_deref()];
            parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
        };
        Self {
            name: pod.name_any(),
            ready: pod.metadata.deletion_timestamp.is_none()
                && ready("Ready").is_some_and(|condition| condition.status == "True"),
            obstacle: scheduled
                .map(|condition| words(&condition.reason, &condition.message))
                .or_else(|| waiting.map(|waiting| words(&waiting.reason, &waiting.message))),
        }
    }
}
