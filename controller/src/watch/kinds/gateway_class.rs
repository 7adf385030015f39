//! `GatewayClass`.

use ambit_model::Str;
use serde::Deserialize;
use serde_json::Value;

use super::{Meta, Problem, part};

/// A GatewayClass.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayClass {
    /// Its metadata.
    pub meta: Meta,
    /// Who looks after its Gateways.
    pub controller: Str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    #[serde(default)]
    controller_name: String,
}

pub(super) fn trim(meta: Meta, value: &Value) -> Result<GatewayClass, Problem> {
    let spec: RawSpec = part(value, "spec")?;
    Ok(GatewayClass { meta, controller: spec.controller_name.into() })
}
