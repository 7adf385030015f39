//! The GatewayClasses of the mesh: there where the cluster knows the kind.

use ambit_model::{GATEWAY_CLASSES, GatewayClass, GatewayRole};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
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
    if within(api.get_opt(class.name), named("get")).await?.is_some() {
        return Ok(());
    }
    let object: DynamicObject = serde_json::from_value(object(class))
        .map_err(|error| Failure::Refused(error.to_string()))?;
    let parameters =
        PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    within(api.create(&parameters, &object), named("create")).await?;
    tracing::info!("GatewayClass {}: created", class.name);
    Ok(())
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
