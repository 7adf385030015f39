//! TLS that DestinationRules ask for: certificates and authorities out of Secrets.

use std::sync::Arc;

use ambit_model::{NamespacedHostname, Str};
use ambit_proto::ambit as proto;
use ambit_proto::ambit::upstream_tls::Mode;

use super::listener_tls;
use crate::index::World;
use crate::watch::kinds::{RuleTls, Secret};
use crate::watch::{Key, Kind, Object};

/// What proxies in the namespace `viewer` are told of the TLS with `host`. Where it cannot be carried out, that nothing
/// may be sent.
pub(super) fn told(
    world: World<'_>,
    tls: &RuleTls,
    host: &NamespacedHostname,
    viewer: &Str,
) -> proto::UpstreamTls {
    let refused = |invalid| proto::UpstreamTls {
        mode: tls.mode.into(),
        invalid,
        ..proto::UpstreamTls::default()
    };
    if !tls.invalid.is_empty() {
        return refused(tls.invalid.clone());
    }
    if matches!(tls.mode, Mode::Disabled | Mode::Mesh) {
        return refused(String::new());
    }
    let credential = match Credential::find(world, tls, viewer) {
        Ok(credential) => credential,
        Err(why) => return refused(why),
    };
    let system = credential.authorities.is_empty() && !tls.unverified;
    proto::UpstreamTls {
        mode: tls.mode.into(),
        sni: if tls.sni.is_empty() { host.hostname.to_string() } else { tls.sni.clone() },
        authorities: credential.authorities,
        system_authorities: system,
        subject_alt_names: tls.names.clone(),
        certificate: credential.certificate,
        insecure_skip_verify: tls.unverified,
        invalid: String::new(),
    }
}

/// What a rule's Secrets hold.
#[derive(Default)]
struct Credential {
    certificate: Option<proto::Certificate>,
    authorities: Vec<u8>,
}

// === impl Credential ===

impl Credential {
    /// Authorities may be in a Secret of their own, whose name ends in `-cacert`.
    fn find(world: World<'_>, tls: &RuleTls, viewer: &Str) -> Result<Self, String> {
        let name = &tls.credential;
        if name.is_empty() {
            return Ok(Self::default());
        }
        let what = format!("tls.credentialName: Secret {viewer}/{name}");
        let own = secret(world, viewer, name.clone());
        let apart = secret(world, viewer, format!("{name}-cacert").into());
        let all = [own, apart].into_iter().flatten();
        let authorities = all.map(|secret| &secret.authorities).find(|pem| !pem.is_empty());
        if let Some(error) = authorities.and_then(|pem| ambit_tls::check_authorities(pem).err()) {
            return Err(format!("{what}: {error}"));
        }
        let authorities = authorities.map(|pem| pem.to_vec()).unwrap_or_default();
        let certificate = match (tls.mode, own) {
            (Mode::Mutual, None) => return Err(format!("{what}: there is none that can be read")),
            (Mode::Mutual, Some(own)) => {
                let pair = listener_tls::pair(own).map_err(|error| format!("{what}: {error}"))?;
                Some(pair)
            }
            _ if authorities.is_empty() && !tls.unverified => {
                return Err(format!("{what}: there is none with authorities (ca.crt or cacert)"));
            }
            _ => None,
        };
        Ok(Self { certificate, authorities })
    }
}

fn secret<'a>(world: World<'a>, namespace: &Str, name: Str) -> Option<&'a Arc<Secret>> {
    match world.inputs.get(&Key::new(Kind::Secret, namespace.clone(), name))? {
        Object::Secret(secret) => Some(secret),
        _ => None,
    }
}
