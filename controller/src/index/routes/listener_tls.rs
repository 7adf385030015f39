//! TLS at listeners: what is shown, and whose certificates are asked for.

use ambit_model::Str;
use ambit_proto::ambit as proto;
use ambit_tls::pem::{self, PemError};

use super::authorities::{self, Fault};
use super::backends;
use super::listeners::Flaw;
use crate::index::World;
use crate::watch::kinds::{BackendRef, Gateway, Listener, Secret};
use crate::watch::{Kind, Object};

/// Whose certificates clients are asked for.
pub(super) struct Clients {
    /// PEM.
    pub(super) authorities: Vec<u8>,
    /// Whether others are served as well.
    pub(super) optional: bool,
}

/// The certificates of a listener of an object of that kind and namespace, and what is wrong with others.
pub(super) fn certificates(
    world: World<'_>,
    from: (Kind, &Str),
    listener: &Listener,
) -> (Vec<proto::Certificate>, Option<Flaw>) {
    let Some(tls) = listener.tls.as_ref().filter(|tls| !tls.passthrough) else {
        return Default::default();
    };
    let (mut certificates, mut flaw) = (Vec::new(), None);
    for reference in &tls.certificates {
        match certificate(world, from, reference) {
            Ok(certificate) => certificates.push(certificate),
            Err(found) => flaw = flaw.or(Some(found)),
        }
    }
    if tls.certificates.is_empty() {
        flaw = Some(("InvalidCertificateRef", "tls.certificateRefs is missing".to_owned()));
    }
    (certificates, flaw)
}

/// Whose certificates clients have to show, and what is wrong with that. With a flaw and nobody to ask for, nobody may
/// come.
pub(super) fn clients(
    world: World<'_>,
    gateway: &Gateway,
    listener: &Listener,
) -> (Option<Clients>, Option<Flaw>) {
    let asked = gateway.tls.clients_of(listener.port).filter(|_| &*listener.protocol == "HTTPS");
    let Some(validation) = asked else { return Default::default() };
    let from = (Kind::Gateway, &gateway.meta.namespace);
    let found = authorities::gather(world, from, &validation.authorities);
    let flaw = found.flaws.into_iter().next().map(|(fault, message)| match fault {
        Fault::Kind => ("InvalidCACertificateKind", message),
        Fault::NotPermitted => ("RefNotPermitted", message),
        Fault::Invalid => ("InvalidCACertificateRef", message),
    });
    if found.pem.is_empty() {
        let missing = || ("InvalidCACertificateRef", "caCertificateRefs is missing".to_owned());
        return (None, flaw.or_else(|| Some(missing())));
    }
    (Some(Clients { authorities: found.pem, optional: validation.optional }), flaw)
}

/// The certificate that an object of that kind and namespace refers to.
pub(super) fn certificate(
    world: World<'_>,
    from: (Kind, &Str),
    reference: &BackendRef,
) -> Result<proto::Certificate, Flaw> {
    let BackendRef { kind, namespace, name, .. } = reference;
    let what = format!("{kind} {namespace}/{name}");
    let invalid = |message| Err(("InvalidCertificateRef", message));
    let Some(key) = reference.key().filter(|key| key.kind == Kind::Secret) else {
        return invalid(format!("{what}: certificates are in Secrets"));
    };
    if !backends::permitted(world, from, reference) {
        let message = format!(
            "{what}: no ReferenceGrant in {namespace} lets a {} in {} refer to it",
            from.0.as_str(),
            from.1
        );
        return Err(("RefNotPermitted", message));
    }
    match world.inputs.get(&key) {
        Some(Object::Secret(secret)) if secret.tls => {
            pair(secret).map_err(|why| ("InvalidCertificateRef", format!("{what}: {why}")))
        }
        _ => invalid(format!("there is no {what} of type kubernetes.io/tls that can be read")),
    }
}

/// The certificate in a Secret, if it has one that can be used.
pub(super) fn pair(secret: &Secret) -> Result<proto::Certificate, PemError> {
    pem::certificates(&secret.chain)?;
    pem::private_key(&secret.key)?;
    Ok(proto::Certificate { chain: secret.chain.to_vec(), key: secret.key.to_vec() })
}
