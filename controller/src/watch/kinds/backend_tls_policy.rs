//! `BackendTLSPolicy`: TLS between proxies and the endpoints of a service.

use ambit_model::Str;
use serde::Deserialize;
use serde_json::Value;

use super::{BackendRef, Kind, Meta, Problem, network, part_of};
use crate::watch::Key;

/// A BackendTLSPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendTlsPolicy {
    /// Its metadata.
    pub meta: Meta,
    /// The services that it is for.
    pub targets: Vec<TlsTarget>,
    /// Who their endpoints have to be; nobody can be where that is not said in a way that is understood.
    pub validation: Result<TlsValidation, Problem>,
}

/// A service, or a port of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsTarget {
    /// The service.
    pub key: Key,
    /// The port's name; every port where empty.
    pub section: Str,
}

/// Who an endpoint has to be.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsValidation {
    /// Whose certificates count; those of the system's authorities where empty.
    pub authorities: Vec<BackendRef>,
    /// The name that is asked for.
    pub hostname: Str,
    /// Host names and URIs, of which the certificate has to have one; the name that is asked for where empty.
    pub names: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    target_refs: Vec<RawTarget>,
    validation: RawValidation,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTarget {
    #[serde(default)]
    group: String,
    kind: String,
    name: Str,
    section_name: Option<Str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawValidation {
    ca_certificate_refs: Vec<RawReference>,
    #[serde(rename = "wellKnownCACertificates")]
    well_known: Option<String>,
    hostname: String,
    subject_alt_names: Vec<RawName>,
}

#[derive(Deserialize)]
struct RawReference {
    #[serde(default)]
    group: Str,
    kind: Str,
    name: Str,
}

#[derive(Deserialize)]
struct RawName {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    uri: String,
}

pub(super) fn trim(
    meta: Meta,
    value: &Value,
    problems: &mut Vec<Problem>,
) -> Result<BackendTlsPolicy, Problem> {
    let RawSpec { target_refs, validation: raw } = part_of(value, "spec", problems)?;
    let mut targets = Vec::new();
    for (i, raw) in target_refs.into_iter().enumerate() {
        match target(&meta, &raw) {
            Some(key) => {
                targets.push(TlsTarget { key, section: raw.section_name.unwrap_or_default() });
            }
            None => {
                let message =
                    format!("{} is not enforced: neither Service nor ServiceEntry", raw.kind);
                problems.push(Problem::remark(format!("spec.targetRefs[{i}].kind"), message));
            }
        }
    }
    let validation = validation(&meta, raw).map_err(|problem| problem.within("spec.validation"));
    Ok(BackendTlsPolicy { meta, targets, validation })
}

fn target(meta: &Meta, raw: &RawTarget) -> Option<Key> {
    let kind = Kind::named(&raw.group, &raw.kind)?;
    let known = matches!(kind, Kind::Service | Kind::ServiceEntry);
    known.then(|| Key::new(kind, meta.namespace.clone(), raw.name.clone()))
}

fn validation(meta: &Meta, raw: RawValidation) -> Result<TlsValidation, Problem> {
    let system = raw.well_known.filter(|name| !name.is_empty());
    match (system.as_deref(), raw.ca_certificate_refs.is_empty()) {
        (None, true) => {
            let message = "is missing, and so is wellKnownCACertificates";
            return Err(Problem::new("caCertificateRefs", message));
        }
        (Some("System"), true) | (None, false) => {}
        (Some("System"), false) => {
            let message = "cannot be used together with caCertificateRefs";
            return Err(Problem::new("wellKnownCACertificates", message));
        }
        (Some(other), _) => {
            let message = format!("{other:?} is not known; System is");
            return Err(Problem::new("wellKnownCACertificates", message));
        }
    }
    precise("hostname", &raw.hostname)?;
    let names = raw.subject_alt_names.into_iter().enumerate().map(|(i, raw)| {
        name(raw).map_err(|problem| problem.within(&format!("subjectAltNames[{i}]")))
    });
    let authorities = raw.ca_certificate_refs.into_iter().map(|raw| BackendRef {
        group: raw.group,
        kind: raw.kind,
        namespace: meta.namespace.clone(),
        name: raw.name,
        port: None,
    });
    Ok(TlsValidation {
        authorities: authorities.collect(),
        hostname: raw.hostname.into(),
        names: names.collect::<Result<_, _>>()?,
    })
}

fn name(raw: RawName) -> Result<String, Problem> {
    match (&*raw.kind, raw.hostname, raw.uri) {
        ("Hostname", hostname, _) => precise("hostname", &hostname).map(|()| hostname),
        ("URI", _, uri) if uri.contains(':') => Ok(uri),
        ("URI", _, uri) => Err(Problem::new("uri", format!("{uri:?} has no scheme"))),
        (other, ..) => Err(Problem::new("type", format!("{other:?} is neither Hostname nor URI"))),
    }
}

fn precise(field: &str, name: &str) -> Result<(), Problem> {
    if name.starts_with('*') {
        return Err(Problem::new(field, "is a wildcard; name a host"));
    }
    network::hostname(field, name)
}

// === impl BackendTlsPolicy ===

impl BackendTlsPolicy {
    /// What it is found by.
    pub fn key(&self) -> Key {
        let Meta { namespace, name, .. } = &self.meta;
        Key::new(Kind::BackendTlsPolicy, namespace.clone(), name.clone())
    }
}
