//! Authorities that certificates are checked against: ConfigMaps that others refer to.

use ambit_model::Str;

use super::backends;
use crate::index::World;
use crate::watch::kinds::BackendRef;
use crate::watch::{Kind, Object};

/// What is found under some references.
#[derive(Debug, Default)]
pub(super) struct Authorities {
    /// Of those that can be used, PEM.
    pub(super) pem: Vec<u8>,
    /// What is wrong with the others.
    pub(super) flaws: Vec<(Fault, String)>,
}

/// Why authorities cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// They are in no ConfigMap.
    Kind,
    /// They are another namespace's, which does not let them be referred to.
    NotPermitted,
    /// They are not there, or are none.
    Invalid,
}

/// The authorities under `references`, of which an object of that kind and namespace speaks.
pub(super) fn gather(
    world: World<'_>,
    from: (Kind, &Str),
    references: &[BackendRef],
) -> Authorities {
    let mut found = Authorities::default();
    for reference in references {
        match one(world, from, reference) {
            Ok(pem) => {
                found.pem.extend_from_slice(pem.trim_end().as_bytes());
                found.pem.push(b'\n');
            }
            Err(flaw) => found.flaws.push(flaw),
        }
    }
    found
}

fn one<'a>(
    world: World<'a>,
    from: (Kind, &Str),
    reference: &BackendRef,
) -> Result<&'a str, (Fault, String)> {
    let BackendRef { kind, namespace, name, .. } = reference;
    let what = format!("{kind} {namespace}/{name}");
    let Some(key) = reference.key().filter(|key| key.kind == Kind::ConfigMap) else {
        return Err((Fault::Kind, format!("{what}: authorities are in ConfigMaps")));
    };
    if !backends::permitted(world, from, reference) {
        let message = format!(
            "{what}: no ReferenceGrant in {namespace} lets objects of kind {} in {} refer to it",
            from.0.as_str(),
            from.1
        );
        return Err((Fault::NotPermitted, message));
    }
    let Some(Object::ConfigMap(map)) = world.inputs.get(&key) else {
        let message = format!("there is no {what} with the key ca.crt that can be read");
        return Err((Fault::Invalid, message));
    };
    match ambit_tls::check_authorities(map.authorities.as_bytes()) {
        Ok(()) => Ok(&map.authorities),
        Err(error) => Err((Fault::Invalid, format!("{what}: ca.crt: {error}"))),
    }
}
