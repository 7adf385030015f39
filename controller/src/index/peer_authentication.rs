//! PeerAuthentication → policies: "peers must have an identity" as denials of those that have none.

use ambit_model::{Action, Authorization, Match, Scope, Str, StringMatch};
use ambit_xds::encode::Encoded;

use super::{Output, World};
use crate::watch::Meta;
use crate::watch::kinds::{MtlsMode, PeerAuthentication};

/// The name of the policy that all STRICT workloads without exceptions share.
const STATIC: &str = "istio_converted_static_strict";
const CONVERTED: &str = "converted_peer_authentication_";

type Rules = Vec<Vec<Vec<Match>>>;

/// The policy that denies whatever has no identity.
pub(super) fn static_policy(root: &Str) -> Authorization {
    denial(root.clone(), STATIC.into(), vec![vec![vec![anonymous()]]])
}

/// The policy of a PeerAuthentication with exceptions for some ports.
pub(super) fn peer_authentication(world: World<'_>, policy: &PeerAuthentication) -> Output {
    let mut output = Output::default();
    let namespace = &policy.meta.namespace;
    if policy.selector.is_empty() || *namespace == world.settings.root_namespace {
        return output;
    }
    if let Some(rules) = converted(policy, namespace_mode(world, namespace)) {
        let policy = denial(namespace.clone(), converted_name(policy).into(), rules);
        output.push(Encoded::authorization(&policy));
    }
    output
}

/// The policy that a workload has to refer to, if any.
pub(super) fn policy_of(world: World<'_>, workload: &Meta) -> Option<Str> {
    let namespace = &workload.namespace;
    let parent = namespace_mode(world, namespace);
    let own = (*namespace != world.settings.root_namespace)
        .then(|| {
            let selecting = world.inputs.peer_authentications(namespace);
            selecting
                .filter(|p| !p.selector.is_empty() && p.selector.matches(&workload.labels))
                .min_by_key(|p| p.meta.age())
        })
        .flatten();
    if let Some(own) = own
        && converted(own, parent).is_some()
    {
        return Some(format!("{namespace}/{}", converted_name(own)).into());
    }
    let mode = own.and_then(|own| own.mode).unwrap_or(parent);
    (mode == MtlsMode::Strict).then(|| format!("{}/{STATIC}", world.settings.root_namespace).into())
}

/// The mode of workloads that nothing selects: that of the oldest object for the namespace, else for the mesh.
fn namespace_mode(world: World<'_>, namespace: &Str) -> MtlsMode {
    let oldest = |namespace: &Str| {
        let whole = world.inputs.peer_authentications(namespace).filter(|p| p.selector.is_empty());
        whole.min_by_key(|p| p.meta.age()).and_then(|p| p.mode)
    };
    oldest(namespace)
        .or_else(|| oldest(&world.settings.root_namespace))
        .unwrap_or(MtlsMode::Permissive)
}

/// The rules for the ports whose mode differs from that of the rest; `None` where there are none.
fn converted(policy: &PeerAuthentication, parent: MtlsMode) -> Option<Rules> {
    let mode = policy.mode.unwrap_or(parent);
    let exceptions: Vec<u16> = policy
        .ports
        .iter()
        .filter(|(_, own)| own.unwrap_or(mode) != mode)
        .map(|(port, _)| *port)
        .collect();
    if exceptions.is_empty() {
        return None;
    }
    Some(match mode {
        MtlsMode::Strict => {
            let except =
                |port| vec![Match { not_destination_ports: vec![port], ..Match::default() }];
            let clauses = std::iter::once(vec![anonymous()]);
            vec![clauses.chain(exceptions.into_iter().map(except)).collect()]
        }
        MtlsMode::Permissive => exceptions
            .into_iter()
            .map(|port| vec![vec![Match { destination_ports: vec![port], ..anonymous() }]])
            .collect(),
    })
}

fn converted_name(policy: &PeerAuthentication) -> String {
    format!("{CONVERTED}{}", policy.meta.name)
}

/// Matches peers without identity.
fn anonymous() -> Match {
    Match { not_principals: vec![StringMatch::Presence()], ..Match::default() }
}

fn denial(namespace: Str, name: Str, rules: Rules) -> Authorization {
    Authorization {
        name,
        namespace,
        scope: Scope::WorkloadSelector,
        action: Action::Deny,
        rules,
        dry_run: false,
    }
}
