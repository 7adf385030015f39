//! Any order of updates gives the same snapshot, and every lookup agrees with a search through plain lists.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ambit_model::{HealthStatus, NetworkAddress, NetworkCidr};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const NETWORKS: [&str; 2] = ["", "far"];
const IPS: [&str; 4] = ["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.2", "fd00::1"];
const RANGES: [&str; 4] = ["10.0.0.0/8", "10.0.0.0/31", "10.0.0.2/32", "fd00::/8"];
const NAMESPACES: [&str; 2] = ["shop", "other"];
const HOSTS: [&str; 2] = ["one.shop", "two.shop"];
const POLICIES: [&str; 3] = ["p", "q", "r"];

// === what happens ===

fn texts<const N: usize>(
    from: [&'static str; N],
    most: usize,
) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(from.to_vec(), 0..=most)
}

fn service_key() -> impl Strategy<Value = NamespacedHostname> {
    (select(&NAMESPACES[..]), select(&HOSTS[..]))
        .prop_map(|(ns, host)| NamespacedHostname::new(ns, host))
}

fn workloads() -> impl Strategy<Value = Update> {
    (
        (select(&NAMES[..]), any::<[bool; 5]>(), select(&NETWORKS[..])),
        texts(IPS, 3),
        vec(service_key(), 0..3),
        texts(POLICIES, 2),
    )
        .prop_map(
            |((name, [is_pod, mesh, host, local, healthy], network), ips, services, policies)| {
                let mut workload = pod(name, "10.0.0.1");
                if !is_pod {
                    workload.uid =
                        format!("Kubernetes/networking.istio.io/WorkloadEntry/shop/{name}").into();
                }
                workload.network = network.into();
                workload.workload_ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
                workload.services = services.into_iter().map(|key| (key, [].into())).collect();
                workload.authorization_policies =
                    policies.iter().map(|p| format!("shop/{p}").into()).collect();
                if !mesh {
                    workload.protocol = TunnelProtocol::Tcp;
                }
                if host {
                    workload.network_mode = NetworkMode::HostNetwork;
                    workload.hostname = "entry.example".into();
                }
                if !local {
                    workload.node = "node-2".into();
                }
                if !healthy {
                    workload.status = HealthStatus::Unhealthy;
                }
                workload.into()
            },
        )
}

fn services() -> impl Strategy<Value = Update> {
    let vips = vec((select(&NETWORKS[..]), select(&IPS[..])), 0..3);
    let ranges = vec((select(&NETWORKS[..]), select(&RANGES[..])), 0..3);
    (service_key(), vips, ranges, any::<[bool; 3]>()).prop_map(
        |(key, vips, ranges, [canonical, hidden, all])| {
            let service = but(service("x", ""), |s| {
                s.namespace = key.namespace;
                s.hostname = key.hostname;
                s.vips = vips
                    .iter()
                    .map(|(n, ip)| NetworkAddress::new(*n, ip.parse().unwrap()))
                    .collect();
                s.cidr_vips =
                    ranges.iter().map(|(n, r)| NetworkCidr::new(*n, r.parse().unwrap())).collect();
                s.canonical = canonical;
                if hidden {
                    s.visibility = Visibility::Namespace;
                }
                if all {
                    let mut balancer = balancer(ambit_model::LoadBalancerMode::Standard, &[]);
                    balancer.health_policy = ambit_model::HealthPolicy::AllowAll;
                    s.load_balancer = Some(balancer);
                }
            });
            service.into()
        },
    )
}

fn policies() -> impl Strategy<Value = Update> {
    let scope = select(&[Scope::Global, Scope::Namespace, Scope::WorkloadSelector][..]);
    (select(&POLICIES[..]), scope, any::<bool>())
        .prop_map(|(name, scope, dry_run)| but(policy(name, scope), |p| p.dry_run = dry_run).into())
}

fn removals() -> impl Strategy<Value = Update> {
    prop_oneof![
        select(&NAMES[..]).prop_map(|name| Update::RemoveAddress(uid(name))),
        service_key().prop_map(|key| Update::RemoveAddress(key.to_string().into())),
        select(&POLICIES[..]).prop_map(|p| Update::RemoveAuthorization(format!("shop/{p}").into())),
    ]
}

fn history() -> impl Strategy<Value = Vec<Update>> {
    let update = prop_oneof![5 => workloads(), 3 => services(), 2 => policies(), 2 => removals()];
    vec(update, 0..40)
}

/// The resource that an update is about.
fn resource(update: &Update) -> String {
    match update {
        Update::Workload(workload) => workload.uid.to_string(),
        Update::Service(service) => service.key().to_string(),
        Update::Authorization(policy) => format!("policy {}", policy.key()),
        Update::RemoveAddress(name) => name.to_string(),
        Update::RemoveAuthorization(name) => format!("policy {name}"),
        Update::Synced(kind) => format!("{kind:?}"),
    }
}

/// The same history in another order, in which the updates of each resource keep theirs and some come twice.
fn shuffled(history: &[Update], dice: &[u16]) -> Vec<Update> {
    let mut by_resource: BTreeMap<String, Vec<&Update>> = BTreeMap::new();
    for update in history {
        by_resource.entry(resource(update)).or_default().push(update);
    }
    let mut dice = dice.iter().cycle();
    let mut roll = || *dice.next().unwrap();
    let mut placed = Vec::new();
    for updates in by_resource.values() {
        let mut twice: Vec<_> = updates
            .iter()
            .flat_map(|u| std::iter::repeat_n(*u, 1 + usize::from(roll() % 4 == 0)))
            .collect();
        let mut times: Vec<_> = twice.iter().map(|_| roll()).collect();
        times.sort_unstable();
        placed.extend(times.into_iter().zip(twice.drain(..)));
    }
    placed.sort_by_key(|(time, _)| *time);
    placed.into_iter().map(|(_, update)| update.clone()).collect()
}

// === what should be known then ===

#[derive(Default)]
struct Reference {
    workloads: BTreeMap<Str, Workload>,
    services: BTreeMap<NamespacedHostname, Service>,
    policies: BTreeMap<Str, Authorization>,
    retained: BTreeMap<Str, Authorization>,
}

impl Reference {
    fn of(history: &[Update]) -> Self {
        let mut reference = Self::default();
        for update in history {
            reference.apply(update.clone());
        }
        reference
    }

    fn refers(&self, name: &str) -> bool {
        self.workloads.values().any(|w| w.authorization_policies.iter().any(|p| &**p == name))
    }

    fn apply(&mut self, update: Update) {
        match update {
            Update::Workload(w) => {
                self.workloads.insert(w.uid.clone(), *w);
            }
            Update::Service(s) => {
                self.services.insert(s.key(), *s);
            }
            Update::Authorization(p) => {
                self.retained.remove(&p.key().0);
                self.policies.insert(p.key().0, *p);
            }
            Update::RemoveAddress(name) => {
                if self.workloads.remove(&name).is_none()
                    && let Ok(key) = name.parse()
                {
                    self.services.remove(&key);
                }
            }
            Update::RemoveAuthorization(name) => {
                if let Some(policy) = self.policies.remove(&name) {
                    self.retained.insert(name, policy);
                }
            }
            Update::Synced(_) => {}
        }
        let unused: Vec<_> =
            self.retained.keys().filter(|name| !self.refers(name)).cloned().collect();
        unused.iter().for_each(|name| drop(self.retained.remove(name)));
    }

    fn workload_at(&self, network: &str, ip: IpAddr) -> Option<&Workload> {
        let rank = |w: &Workload| (w.uid.contains("//Pod/"), w.protocol == TunnelProtocol::Hbone);
        let claims = |w: &&Workload| {
            w.network_mode == NetworkMode::Standard
                && &*w.network == network
                && w.workload_ips.iter().any(|own| own.to_canonical() == ip.to_canonical())
        };
        // Of equals the first by uid, which is the last in reverse.
        self.workloads.values().filter(claims).rev().max_by_key(|w| rank(w))
    }

    /// The services at an address as sort keys of (how good, which).
    fn service_at(&self, network: &str, ip: IpAddr, client: &str) -> Option<NamespacedHostname> {
        let ip = ip.to_canonical();
        let visible = || {
            self.services
                .values()
                .filter(|s| s.visibility == Visibility::Public || &*s.namespace == client)
        };
        let first_best = |ranked: Vec<((bool, u8, bool), &Service)>| {
            let best = ranked.iter().map(|(rank, _)| *rank).max()?;
            let mut all: Vec<_> = ranked.into_iter().filter(|(rank, _)| *rank == best).collect();
            all.sort_by_key(|(_, s)| s.key());
            Some(all[0].1.key())
        };
        let own = |s: &Service| &*s.namespace == client;
        let exact = visible().filter(|s| {
            s.vips.iter().any(|vip| &*vip.network == network && vip.address.to_canonical() == ip)
        });
        let exact = exact.map(|s| ((own(s), 0, s.canonical), s)).collect();
        let ranges = visible().flat_map(|s| {
            let around =
                s.cidr_vips.iter().filter(|r| &*r.network == network && r.cidr.contains(&ip));
            around.map(move |r| ((&*s.namespace == client, r.cidr.prefix_len(), s.canonical), s))
        });
        first_best(exact).or_else(|| first_best(ranges.collect()))
    }

    fn endpoints(&self, service: &Service) -> BTreeSet<Str> {
        let all = service.load_balancer.is_some();
        let takes = |w: &&Workload| {
            w.services.contains_key(&service.key()) && (all || w.status == HealthStatus::Healthy)
        };
        self.workloads.values().filter(takes).map(|w| w.uid.clone()).collect()
    }

    fn candidates(&self, workload: &Workload) -> BTreeSet<String> {
        let scoped = self.policies.iter().filter(|(_, p)| match p.scope {
            Scope::Global => true,
            Scope::Namespace => p.namespace == workload.namespace,
            Scope::WorkloadSelector => false,
        });
        let scoped = scoped.map(|(name, _)| name.to_string());
        let named = workload.authorization_policies.iter().map(|name| {
            let known = self.policies.contains_key(name) || self.retained.contains_key(name);
            if known { name.to_string() } else { format!("?{name}") }
        });
        scoped.chain(named).collect()
    }
}

/// Compares every lookup there is.
fn check(snapshot: &Snapshot, reference: &Reference) -> Result<(), TestCaseError> {
    let workloads: BTreeMap<_, _> = snapshot.workloads().map(|w| (w.uid.clone(), w)).collect();
    prop_assert_eq!(&workloads, &reference.workloads);
    prop_assert_eq!(snapshot.workload_count(), reference.workloads.len());
    let services: BTreeMap<_, _> = snapshot.services().map(|s| (s.key(), (**s).clone())).collect();
    prop_assert_eq!(&services, &reference.services);
    prop_assert_eq!(snapshot.service_count(), reference.services.len());
    for (network, ip) in NETWORKS.iter().flat_map(|n| IPS.iter().map(move |ip| (*n, *ip))) {
        let ip: IpAddr = ip.parse().unwrap();
        let found = snapshot.workload_at(network, ip);
        prop_assert_eq!(found.as_deref(), reference.workload_at(network, ip));
        for client in ["shop", "other", "third"] {
            let found = snapshot.service_at(network, ip, client).map(|s| s.key());
            prop_assert_eq!(found, reference.service_at(network, ip, client), "{}/{}", network, ip);
        }
    }
    for service in reference.services.values() {
        let found: BTreeSet<_> = snapshot.endpoints(service).map(|e| e.uid()).collect();
        prop_assert_eq!(found, reference.endpoints(service));
        prop_assert!(
            snapshot.services_by_hostname(&service.hostname).iter().any(|s| **s == *service)
        );
    }
    for workload in reference.workloads.values() {
        let found: Vec<_> = snapshot
            .policies_for(workload, None, [10, 0, 0, 1].into())
            .filter_map(|candidate| match candidate {
                Candidate::Known(policy) => Some(policy.key().to_string()),
                Candidate::Unknown(name) => Some(format!("?{name}")),
                Candidate::HasAllow { .. } => None,
            })
            .collect();
        let expected = reference.candidates(workload);
        prop_assert_eq!(found.len(), expected.len(), "each once");
        prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
        let local =
            snapshot.local_workload(&workload.namespace, &workload.name, &workload.service_account);
        let expected =
            reference.workloads.values().find(|w| w.name == workload.name && &*w.node == NODE);
        prop_assert_eq!(local.as_deref(), expected);
    }
    let retained: Vec<_> = reference.retained.keys().map(|name| name.to_string()).collect();
    prop_assert_eq!(names(snapshot.retained_policies()), retained);
    let unknown = ["shop/p", "shop/q", "shop/r"].into_iter().filter(|name| {
        reference.refers(name)
            && !reference.policies.contains_key(*name)
            && !reference.retained.contains_key(*name)
    });
    prop_assert_eq!(names(snapshot.unknown_policies()), names(unknown));
    Ok(())
}

/// Everything in a snapshot but its versions.
fn dump(store: &Store) -> String {
    format!("{:#?}", Snapshot { version: 0, policies_version: 0, ..(*store.snapshot()).clone() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn lookups_agree_with_plain_lists(history in history(), batch in 1_usize..10) {
        let mut store = store([]);
        let mut reference = Reference::default();
        for updates in history.chunks(batch) {
            store.apply(updates.iter().cloned());
            updates.iter().for_each(|update| reference.apply(update.clone()));
            check(&store.snapshot(), &reference)?;
        }
    }

    /// Without removals of policies the whole snapshot is the same, to the last index.
    #[test]
    fn any_order_gives_the_same_snapshot(
        history in history(),
        dice in vec(any::<u16>(), 1..200),
        batch in option::of(1_usize..10),
    ) {
        let history: Vec<_> =
            history.into_iter().filter(|u| !matches!(u, Update::RemoveAuthorization(_))).collect();
        let other = shuffled(&history, &dice);
        let one = store(history);
        let mut two = store([]);
        for updates in other.chunks(batch.unwrap_or(usize::MAX)) {
            two.apply(updates.iter().cloned());
        }
        prop_assert_eq!(dump(&one), dump(&two));
    }

    /// With them, a name that is still referred to is either retained or unknown, and never let through.
    #[test]
    fn any_order_keeps_policies_closed(history in history(), dice in vec(any::<u16>(), 1..200)) {
        let other = shuffled(&history, &dice);
        let (one, two) = (store(history.clone()), store(other.clone()));
        check(&two.snapshot(), &Reference::of(&other))?;
        for workload in Reference::of(&history).workloads.values() {
            let removed = |store: &Store| {
                let snapshot = store.snapshot();
                let retained = names(snapshot.retained_policies());
                let candidates = snapshot.policies_for(workload, None, [10, 0, 0, 1].into()).filter_map(|candidate| match candidate {
                    Candidate::Unknown(name) => Some(name.to_owned()),
                    Candidate::Known(policy) => retained.contains(&policy.key().to_string()).then(|| policy.key().to_string()),
                    Candidate::HasAllow { .. } => None,
                });
                candidates.collect::<BTreeSet<_>>()
            };
            prop_assert_eq!(removed(&one), removed(&two));
        }
    }

    #[test]
    fn what_is_removed_leaves_nothing_behind(history in history()) {
        let mut store = store(history);
        let snapshot = store.snapshot();
        let addresses = snapshot.workloads().map(|w| w.uid)
            .chain(snapshot.services().map(|s| s.key().to_string().into()));
        let mut all: Vec<_> = addresses.map(Update::RemoveAddress).collect();
        all.extend(snapshot.policies().map(|p| Update::RemoveAuthorization(p.key().0)));
        store.apply(all);
        prop_assert_eq!(dump(&store), format!("{:#?}", Snapshot::default()));
    }
}
