//! Which pods are in the mesh: a decision on labels, annotations and settings alone.

use std::collections::BTreeSet;

use super::view::PodView;

/// Programs of the mesh itself, by their `app` label: they are never captured in the mesh's own namespace.
const OWN_APPS: [&str; 4] = ["ztunnel", "ambit-agent", "istio-cni-node", "ambit-controller"];

/// What is kept out of the mesh whatever labels say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusions {
    /// Namespaces none of whose pods are captured (`EXCLUDE_NAMESPACES`).
    pub namespaces: BTreeSet<String>,
    /// The mesh's own namespace, whose ztunnels and agents are not captured.
    pub system_namespace: String,
}

/// Whether a pod is in the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    /// It is: it has to be captured.
    Member,
    /// It is not, and why.
    Outside(Reason),
}

/// Why a pod is not in the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It has ended.
    Terminal,
    /// It uses the node's network, which is not captured.
    HostNetwork,
    /// Its namespace is kept out.
    ExcludedNamespace,
    /// It is part of the mesh itself.
    OwnPod,
    /// It has a sidecar (`sidecar.istio.io/status`).
    Sidecar,
    /// Its own label says `none`.
    OptedOut,
    /// Neither it nor its namespace is labelled.
    NotSelected,
}

// === impl Exclusions ===

impl Default for Exclusions {
    /// Istio's: `kube-system` is kept out, the mesh lives in `istio-system`.
    fn default() -> Self {
        Self {
            namespaces: BTreeSet::from(["kube-system".to_owned()]),
            system_namespace: "istio-system".to_owned(),
        }
    }
}

// === impl Membership ===

impl Membership {
    /// Decides about `pod`. `namespace_mode` is its namespace's label `istio.io/dataplane-mode` (protocol.md 5.4).
    pub(crate) fn decide(
        pod: &PodView,
        namespace_mode: Option<&str>,
        exclusions: &Exclusions,
    ) -> Self {
        let own = pod.namespace == exclusions.system_namespace
            && pod.app.as_deref().is_some_and(|app| OWN_APPS.contains(&app));
        let labels = (pod.mode.as_deref(), namespace_mode);
        match labels {
            _ if pod.terminal => Self::Outside(Reason::Terminal),
            _ if pod.host_network => Self::Outside(Reason::HostNetwork),
            _ if exclusions.namespaces.contains(&pod.namespace) => {
                Self::Outside(Reason::ExcludedNamespace)
            }
            _ if own => Self::Outside(Reason::OwnPod),
            _ if pod.sidecar => Self::Outside(Reason::Sidecar),
            (Some("ambient"), _) => Self::Member,
            (Some("none"), _) => Self::Outside(Reason::OptedOut),
            (_, Some("ambient")) => Self::Member,
            _ => Self::Outside(Reason::NotSelected),
        }
    }

    /// Whether it is [`Membership::Member`].
    pub(crate) fn is_member(self) -> bool {
        self == Self::Member
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_exceptions() {
        use Reason::*;
        let pod = |change: fn(&mut PodView)| {
            let mut pod = PodView { namespace: "shop".into(), ..PodView::default() };
            change(&mut pod);
            pod
        };
        let ambient = Some("ambient");
        let plain: fn(&mut PodView) = |_| {};
        for (name, change, namespace, expected) in [
            ("nothing", plain, None, Some(NotSelected)),
            ("namespace", plain, ambient, None),
            ("other mode", plain, Some("none"), Some(NotSelected)),
            ("pod", |pod| pod.mode = Some("ambient".into()), None, None),
            ("pod over namespace", |pod| pod.mode = Some("ambient".into()), Some("none"), None),
            ("opted out", |pod| pod.mode = Some("none".into()), ambient, Some(OptedOut)),
            ("unknown mode", |pod| pod.mode = Some("sidecar".into()), ambient, None),
            ("unknown alone", |pod| pod.mode = Some("sidecar".into()), None, Some(NotSelected)),
            ("host network", |pod| pod.host_network = true, ambient, Some(HostNetwork)),
            ("ended", |pod| pod.terminal = true, ambient, Some(Terminal)),
            ("sidecar", |pod| pod.sidecar = true, ambient, Some(Sidecar)),
            (
                "excluded",
                |pod| {
                    pod.namespace = "kube-system".into();
                    pod.mode = Some("ambient".into());
                },
                ambient,
                Some(ExcludedNamespace),
            ),
            (
                "ztunnel",
                |pod| {
                    pod.namespace = "istio-system".into();
                    pod.app = Some("ztunnel".into());
                },
                ambient,
                Some(OwnPod),
            ),
            ("namesake", |pod| pod.app = Some("ztunnel".into()), ambient, None),
            ("neighbour", |pod| pod.namespace = "istio-system".into(), ambient, None),
        ] {
            let found = Membership::decide(&pod(change), namespace, &Exclusions::default());
            let expected = expected.map_or(Membership::Member, Membership::Outside);
            assert_eq!(found, expected, "{name}");
        }
    }
}
