//! A Gateway → the objects that serve it. Pure. (protocol.md 10.2.)

use std::collections::BTreeMap;

use ambit_model::GatewayRole;
use serde_json::{Value, json};

use super::gateway::{Gateway, Listener};
use super::merge::merge;
use super::overlays::Overlays;
use super::parts::{Part, PartKey};
use super::pod::{self, Template};

/// The label that leads from everything deployed to its Gateway.
pub(super) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// The label that says which controller manages an object (Istio).
pub(super) const MANAGED: &str = "gateway.istio.io/managed";
/// The proxy's port for readiness. (protocol.md 1.1.)
pub(super) const READINESS_PORT: u16 = 15021;
/// The annotation that gives the Service another type (Istio).
const SERVICE_TYPE: &str = "networking.istio.io/service-type";

/// One object, as it should be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) key: PartKey,
    pub(super) body: Value,
}

/// What should be deployed for `gateway`: overlays, the later ones over the earlier, add to what the class says.
///
/// # Errors
/// What the Gateway asks for and cannot be had.
pub(super) fn objects(
    gateway: &Gateway,
    overlays: &[&Overlays],
    template: &Template,
) -> Result<Vec<Wanted>, String> {
    let mut wanted = Vec::new();
    for part in Part::ALL {
        let overlays: Vec<&Value> = overlays.iter().filter_map(|all| all.of(part)).collect();
        let on_demand = matches!(part, Part::HorizontalPodAutoscaler | Part::PodDisruptionBudget);
        if on_demand && overlays.is_empty() {
            continue;
        }
        let name = match part {
            Part::ServiceAccount => gateway.names.service_account.clone(),
            _ => gateway.names.objects.clone(),
        };
        let mut body = match part {
            Part::ServiceAccount => json!({ "automountServiceAccountToken": false }),
            Part::Deployment => deployment(gateway, template),
            Part::Service => service(gateway)?,
            Part::HorizontalPodAutoscaler => json!({ "spec": { "scaleTargetRef": {
                "apiVersion": "apps/v1", "kind": "Deployment", "name": gateway.names.objects,
            } } }),
            Part::PodDisruptionBudget => {
                json!({ "spec": { "selector": { "matchLabels": selector(gateway) } } })
            }
        };
        body["metadata"] = json!({
            "labels": labels(gateway),
            "annotations": annotations(gateway),
        });
        for overlay in overlays {
            merge(&mut body, overlay.clone(), "");
        }
        let key = PartKey { part, namespace: gateway.name.namespace.clone(), name };
        sign(&mut body, &key, gateway);
        wanted.push(Wanted { key, body });
    }
    Ok(wanted)
}

/// Says what the object is and whose, whatever overlays said.
fn sign(body: &mut Value, key: &PartKey, gateway: &Gateway) {
    let resource = key.part.resource();
    body["apiVersion"] = resource.api_version.into();
    body["kind"] = resource.kind.into();
    let metadata = &mut body["metadata"];
    // Who owns an empty map loses it to the first who puts something into it.
    if let Some(fields) = metadata.as_object_mut() {
        fields.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    }
    metadata["name"] = key.name.as_str().into();
    metadata["namespace"] = key.namespace.as_str().into();
    metadata["labels"][GATEWAY_NAME] = gateway.name.name.as_str().into();
    metadata["labels"][MANAGED] = gateway.class.managed().into();
    metadata["ownerReferences"] = json!([{
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "name": gateway.name.name,
        "uid": gateway.uid,
    }]);
}

fn deployment(gateway: &Gateway, template: &Template) -> Value {
    let mut labels = labels(gateway);
    for (name, value) in [
        ("istio.io/dataplane-mode", "none"),
        ("sidecar.istio.io/inject", "false"),
        ("service.istio.io/canonical-name", &gateway.names.objects),
        ("service.istio.io/canonical-revision", "latest"),
    ] {
        labels.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    let mut annotations = annotations(gateway);
    for (name, value) in [("prometheus.io/scrape", "true"), ("prometheus.io/port", "15020")] {
        annotations.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    json!({
        "spec": {
            "selector": { "matchLabels": selector(gateway) },
            "template": {
                "metadata": { "labels": labels, "annotations": annotations },
                "spec": pod::spec(gateway, template),
            },
        },
    })
}

fn service(gateway: &Gateway) -> Result<Value, String> {
    let kind = match gateway.annotations.get(SERVICE_TYPE).map(String::as_str) {
        Some(kind @ ("ClusterIP" | "NodePort" | "LoadBalancer")) => kind,
        Some(other) => {
            return Err(format!(
                "metadata.annotations[{SERVICE_TYPE}]: {other:?} is none of ClusterIP, NodePort, LoadBalancer"
            ));
        }
        None => match gateway.class.role {
            GatewayRole::Waypoint => "ClusterIP",
            GatewayRole::Ingress => "LoadBalancer",
        },
    };
    let mut spec = json!({
        "type": kind,
        "ipFamilyPolicy": "PreferDualStack",
        "selector": selector(gateway),
        "ports": ports(&gateway.listeners),
    });
    if let (Some(address), "LoadBalancer") = (&gateway.address, kind) {
        spec["loadBalancerIP"] = address.as_str().into();
    }
    Ok(json!({ "spec": spec }))
}

/// A port for readiness and one for each of the listeners', several of which may share one.
fn ports(listeners: &[Listener]) -> Vec<Value> {
    let mut ports = vec![json!({
        "name": "status-port", "port": READINESS_PORT, "protocol": "TCP", "appProtocol": "tcp",
    })];
    for Listener { name, port, protocol } in listeners {
        if ports.iter().any(|known| known["port"] == *port) || protocol == "UDP" {
            continue;
        }
        // The name of a port is shorter than that of a listener may be.
        let name =
            if name.len() <= 63 && !name.contains('.') { name } else { &format!("port-{port}") };
        let protocol = protocol.to_ascii_lowercase();
        ports.push(json!({
            "name": name, "port": port, "protocol": "TCP", "appProtocol": protocol,
        }));
    }
    ports
}

pub(super) fn selector(gateway: &Gateway) -> Value {
    json!({ GATEWAY_NAME: gateway.name.name })
}

fn labels(gateway: &Gateway) -> BTreeMap<String, String> {
    let mut labels = gateway.infrastructure.labels.clone();
    for key in ["topology.istio.io/network", "istio.io/rev"] {
        let value = gateway.labels.get(key);
        labels.extend(value.map(|value| (key.to_owned(), value.clone())));
    }
    labels.insert(GATEWAY_NAME.to_owned(), gateway.name.name.clone());
    let class = gateway.class;
    labels.insert("gateway.networking.k8s.io/gateway-class-name".to_owned(), class.name.to_owned());
    labels.insert(MANAGED.to_owned(), class.managed());
    labels
}

fn annotations(gateway: &Gateway) -> BTreeMap<String, String> {
    let mut annotations = gateway.infrastructure.annotations.clone();
    if gateway.class.role == GatewayRole::Waypoint {
        let key = "networking.istio.io/traffic-distribution".to_owned();
        annotations.entry(key).or_insert_with(|| "PreferClose".to_owned());
    }
    annotations
}

#[cfg(test)]
mod tests;
