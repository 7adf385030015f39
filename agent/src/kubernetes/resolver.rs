//! What a pod's `resolv.conf` says, derived from its DNS policy.
//!
//! A new pod has no process yet whose file could be read when it is captured, so the answer must not depend on one.
//! The agent's own file is the pattern: the agent runs with `dnsPolicy: ClusterFirstWithHostNet`, and what the kubelet
//! wrote for it differs from what it writes for a `ClusterFirst` pod by the namespace in the first search domain.
//! Where there is no pattern (no search domain with `.svc.` in it), and for `Default`, ztunnel's own resolvers serve.

use super::view::DnsWish;
use crate::pod::Resolver;

/// Derives resolvers for pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolvers {
    pattern: Option<Resolver>,
}

// === impl Resolvers ===

impl Resolvers {
    /// Takes the pattern from `own`, the text of the agent's own `resolv.conf`.
    pub(crate) fn of(own: &str) -> Self {
        let config = crate::resolv::parse(own);
        let is_cluster = config.searches.first().is_some_and(|search| search.contains(".svc."));
        let pattern = Resolver { nameservers: config.nameservers, searches: config.searches };
        Self { pattern: is_cluster.then_some(pattern) }
    }

    /// How a pod of `namespace` that asks for `wish` resolves names; `None`: as ztunnel does.
    pub(crate) fn resolver(&self, namespace: &str, wish: &DnsWish) -> Option<Resolver> {
        let mut resolver = match wish.policy.as_str() {
            "None" => Resolver::default(),
            "" | "ClusterFirst" | "ClusterFirstWithHostNet" => self.of_namespace(namespace)?,
            _ => return None,
        };
        for nameserver in &wish.nameservers {
            if !resolver.nameservers.contains(nameserver) {
                resolver.nameservers.push(*nameserver);
            }
        }
        for search in &wish.searches {
            let search = search.trim_end_matches('.').to_ascii_lowercase();
            if !resolver.searches.contains(&search) {
                resolver.searches.push(search);
            }
        }
        (!resolver.nameservers.is_empty()).then_some(resolver)
    }

    /// The pattern with another namespace.
    fn of_namespace(&self, namespace: &str) -> Option<Resolver> {
        let mut resolver = self.pattern.clone()?;
        if let Some(first) = resolver.searches.first_mut()
            && let Some((_, rest)) = first.split_once(".svc.")
        {
            *first = format!("{namespace}.svc.{rest}");
        }
        Some(resolver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "search istio-system.svc.cluster.local svc.cluster.local cluster.local lan\n\
                       nameserver 10.96.0.10\noptions ndots:5\n";

    #[test]
    fn policies() {
        let wish = |policy: &str, nameservers: &[&str], searches: &[&str]| DnsWish {
            policy: policy.into(),
            nameservers: nameservers.iter().map(|ip| ip.parse().unwrap()).collect(),
            searches: searches.iter().map(|search| (*search).into()).collect(),
        };
        let cluster = "10.96.0.10 | shop.svc.cluster.local svc.cluster.local cluster.local lan";
        for (own, wish, expected) in [
            (OWN, wish("", &[], &[]), cluster),
            (OWN, wish("ClusterFirst", &[], &[]), cluster),
            (
                OWN,
                wish("ClusterFirst", &["10.96.0.10", "9.9.9.9"], &["Example."]),
                "10.96.0.10 9.9.9.9 | shop.svc.cluster.local svc.cluster.local cluster.local lan example",
            ),
            (OWN, wish("None", &["9.9.9.9"], &["example"]), "9.9.9.9 | example"),
            (OWN, wish("None", &[], &[]), "as ztunnel"),
            (OWN, wish("Default", &[], &[]), "as ztunnel"),
            ("nameserver 1.1.1.1\nsearch lan", wish("ClusterFirst", &[], &[]), "as ztunnel"),
        ] {
            let found = match Resolvers::of(own).resolver("shop", &wish) {
                None => "as ztunnel".to_owned(),
                Some(resolver) => {
                    let ips: Vec<_> =
                        resolver.nameservers.iter().map(ToString::to_string).collect();
                    format!("{} | {}", ips.join(" "), resolver.searches.join(" "))
                }
            };
            assert_eq!(found, expected, "{wish:?}");
        }
    }
}
