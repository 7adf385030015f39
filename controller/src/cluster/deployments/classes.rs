//! The GatewayClasses of the mesh: there where the cluster knows the kind, and accepted.

use ambit_model::{GATEWAY_CLASSES, GatewayClass, GatewayRole};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::hands::{Failure, Hands, MANAGER, within};

/// Creates what is missing. What fails is looked at again with the next call.
pub(super) async fn ensure(hands: &Hands) {
    for class in &GATEWAY_CLASSES {
        if let Err(failure) = ensure_one(hands, class).await {
            // Without the CRDs of the Gateway API there is nothing to create, as the source of objects says.
            if !matches!(failure, Failure::Refused(_)) {
                tracing::warn!("GatewayClass {}: {failure}", class.name);
            }
            return;
        }
    }
}

async fn ensure_one(hands: &Hands, class: &GatewayClass) -> Result<(), Failure> {
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "GatewayClass"),
        "gatewayclasses",
    );
    let api = hands.all(&resource);
    let named = |verb| (verb, "gateway.networking.k8s.io", "gatewayclasses");
    let present = match within(api.get_opt(class.name), named("get")).await? {
        Some(present) => present,
        None => {
            let object: DynamicObject = serde_json::from_value(object(class))
                .map_err(|error| Failure::Refused(error.to_string()))?;
            let parameters =
                PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            let created = within(api.create(&parameters, &object), named("create")).await?;
            tracing::info!("GatewayClass {}: created", class.name);
            created
        }
    };
    // A class of that name with another controller is somebody else's.
    if present.data["spec"]["controllerName"] != class.controller || is_accepted(&present.data) {
        return Ok(());
    }
    let status = Patch::Apply(accepted(class, present.metadata.generation.unwrap_or_default()));
    let parameters = PatchParams::apply(MANAGER).force();
    let patched = api.patch_status(class.name, &parameters, &status);
    within(patched, ("patch", "gateway.networking.k8s.io", "gatewayclasses/status")).await.map(drop)
}

fn object(class: &GatewayClass) -> Value {
    let description = match class.role {
        GatewayRole::Waypoint => "Waypoints of the Ambit mesh",
        GatewayRole::Ingress => "Gateways into the Ambit mesh",
    };
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": { "name": class.name },
        "spec": { "controllerName": class.controller, "description": description },
    })
}

fn is_accepted(class: &Value) -> bool {
    let conditions = class["status"]["conditions"].as_array();
    let is = |c: &Value| c["type"] == "Accepted" && c["status"] == "True";
    conditions.into_iter().flatten().any(is)
}

fn accepted(class: &GatewayClass, generation: i64) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": { "name": class.name },
        "status": { "conditions": [{
            "type": "Accepted",
            "status": "True",
            "reason": "Accepted",
            "message": "Handled by Ambit's controller",
            "observedGeneration": generation,
            "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }] },
    })
}
