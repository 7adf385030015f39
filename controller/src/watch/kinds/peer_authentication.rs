//! `PeerAuthentication`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::meta::RawSelector;
use super::{Meta, Problem, Selector, part, ports};

/// Whether a namespace's or a workload's peers must have an identity.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerAuthentication {
    /// Its metadata.
    pub meta: Meta,
    /// The workloads it is about; all where empty.
    pub selector: Selector,
    /// The mode, or that of the wider scope where absent.
    pub mode: Option<MtlsMode>,
    /// Modes of single ports; an absent one is the object's own.
    pub ports: BTreeMap<u16, Option<MtlsMode>>,
}

/// Whether peers must have an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MtlsMode {
    /// They must.
    Strict,
    /// They need not.
    Permissive,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    selector: Option<RawSelector>,
    #[serde(default)]
    mtls: Option<RawMtls>,
    #[serde(default)]
    port_level_mtls: Option<BTreeMap<String, RawMtls>>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMtls {
    #[serde(default)]
    mode: Option<String>,
}

/// An object that cannot be understood counts as the strictest that it can be: STRICT on every port of what it
/// selects, or of its namespace where even the selector cannot be read.
pub(super) fn trim(meta: Meta, value: &Value, problems: &mut Vec<Problem>) -> PeerAuthentication {
    let unreadable = !problems.is_empty();
    match read(value) {
        Ok((selector, mode, ports)) if !unreadable => {
            PeerAuthentication { meta, selector, mode, ports }
        }
        result => {
            problems.extend(result.err());
            Problem::conclude(problems, "STRICT is enforced until this is corrected");
            let selector =
                value.pointer("/spec/selector").cloned().map(super::typed::<RawSelector>);
            let selector = selector.and_then(Result::ok).unwrap_or_default().into();
            let mode = Some(MtlsMode::Strict);
            PeerAuthentication { meta, selector, mode, ports: BTreeMap::new() }
        }
    }
}

type Parts = (Selector, Option<MtlsMode>, BTreeMap<u16, Option<MtlsMode>>);

fn read(value: &Value) -> Result<Parts, Problem> {
    let raw: Raw = part(value, "spec")?;
    let mode = mode("spec.mtls.mode", raw.mtls)?;
    let mut levels = BTreeMap::new();
    for (port, mtls) in raw.port_level_mtls.unwrap_or_default() {
        let field = format!("spec.portLevelMtls.{port}");
        let invalid = |_| Problem::new(&field, format!("{port:?} is not a port"));
        let number = ports::port(&field, port.parse().map_err(invalid)?)?;
        levels.insert(number, self::mode(&format!("{field}.mode"), Some(mtls))?);
    }
    Ok((raw.selector.unwrap_or_default().into(), mode, levels))
}

/// DISABLE counts as PERMISSIVE: a ztunnel takes both kinds of traffic in either mode.
fn mode(field: &str, raw: Option<RawMtls>) -> Result<Option<MtlsMode>, Problem> {
    match raw.and_then(|raw| raw.mode).as_deref() {
        None | Some("UNSET") => Ok(None),
        Some("STRICT") => Ok(Some(MtlsMode::Strict)),
        Some("PERMISSIVE" | "DISABLE") => Ok(Some(MtlsMode::Permissive)),
        Some(other) => Err(Problem::new(
            field,
            format!("{other:?} is none of UNSET, DISABLE, PERMISSIVE, STRICT"),
        )),
    }
}
