use ambit_model::{
    HealthPolicy, HealthStatus, LoadBalancer, NetworkAddress, Str, Visibility, Workload,
};
use ambit_state::{Config, Store, Update};
use hickory_proto::op::{Edns, MessageType};

use super::*;

const VIP: &str = "10.96.0.1";

/// A service with one address.
fn service(hostname: &str) -> Service {
    let namespace = hostname.split('.').nth(1).unwrap_or("other");
    Service {
        name: hostname.split('.').next().unwrap_or_default().into(),
        namespace: namespace.into(),
        hostname: hostname.into(),
        vips: vips(&[VIP]),
        ..Service::default()
    }
}

fn vips(addresses: &[&str]) -> Vec<NetworkAddress> {
    addresses.iter().map(|address| on("", address)).collect()
}

fn on(network: &str, address: &str) -> NetworkAddress {
    NetworkAddress::new(network, address.parse().unwrap())
}

/// An endpoint of `service`.
fn endpoint(uid: &str, addresses: &[&str], service: &Service) -> Workload {
    Workload {
        uid: uid.into(),
        workload_ips: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        services: [(service.key(), [(80, 80)].into())].into(),
        ..Workload::default()
    }
}

/// A mesh, and a client in namespace `ns` on the default network.
struct Case {
    services: Vec<Service>,
    workloads: Vec<Workload>,
    searches: Vec<Str>,
    preferred_namespace: Option<&'static str>,
    ipv6: bool,
}

fn mesh(services: impl IntoIterator<Item = Service>) -> Case {
    Case {
        services: services.into_iter().collect(),
        workloads: Vec::new(),
        searches: Vec::new(),
        preferred_namespace: None,
        ipv6: true,
    }
}

impl Case {
    fn with(mut self, workloads: impl IntoIterator<Item = Workload>) -> Self {
        self.workloads.extend(workloads);
        self
    }

    fn plan(&self, name: &str, kind: RecordType) -> Plan {
        self.plan_query(&Query::query(Name::from_ascii(name).unwrap(), kind))
    }

    fn plan_query(&self, question: &Query) -> Plan {
        let mut store = Store::new(Config::default());
        let services = self.services.iter().cloned().map(|s| Update::Service(Box::new(s)));
        store.apply(services);
        store.apply(self.workloads.iter().cloned().map(|w| Update::Workload(Box::new(w))));
        let scope = Scope { domain: "cluster.local", namespace: "ns", searches: &self.searches };
        let client = Client { scope, network: "" };
        let rules = Rules { preferred_namespace: self.preferred_namespace, ipv6: self.ipv6 };
        answer(question, client, &store.snapshot(), rules)
    }

    /// What a client would see: records as `owner TYPE data`, or how the query is treated otherwise.
    fn see(&self, name: &str, kind: RecordType) -> Vec<String> {
        let question = Query::query(Name::from_ascii(name).unwrap(), kind);
        match self.plan_query(&question) {
            Plan::Forward => vec!["forward".to_owned()],
            Plan::Refuse(code) => vec![code.to_string()],
            Plan::Answer(answer) if answer.addresses.is_empty() => vec![answer.outcome.to_owned()],
            Plan::Answer(answer) => {
                assert_eq!(answer.outcome, "success");
                let records = answer.records(&question);
                assert!(records.iter().all(|record| record.ttl == 30));
                let shown = |r: &Record| format!("{} {} {}", r.name, r.record_type(), r.data);
                records.iter().map(shown).collect()
            }
        }
    }

    fn a(&self, name: &str) -> Vec<String> {
        self.see(name, RecordType::A)
    }

    fn aaaa(&self, name: &str) -> Vec<String> {
        self.see(name, RecordType::AAAA)
    }
}

#[test]
fn only_addresses_are_answered() {
    let mesh = mesh([service("web.ns.svc.cluster.local")]);
    let name = "web.ns.svc.cluster.local.";
    for kind in [RecordType::MX, RecordType::SRV, RecordType::TXT, RecordType::ANY, RecordType::PTR]
    {
        assert_eq!(mesh.plan(name, kind), Plan::Forward, "{kind}");
    }
    let mut chaos = Query::query(Name::from_ascii(name).unwrap(), RecordType::A);
    chaos.set_query_class(DNSClass::CH);
    assert_eq!(mesh.plan_query(&chaos), Plan::Forward);
    assert_eq!(mesh.a(name), [format!("{name} A {VIP}")]);
}

#[test]
fn short_names_of_the_clients_point_of_view() {
    let mesh = mesh([service("web.ns.svc.cluster.local"), service("api.shop.svc.cluster.local")]);
    for name in ["web.", "web.ns.", "web.ns.svc.", "web.ns.svc.cluster.local.", "Web.NS.svc."] {
        assert_eq!(mesh.a(name), [format!("{name} A {VIP}")]);
    }
    for name in ["api.shop.", "api.shop.svc.", "API.shop.svc.cluster.local."] {
        assert_eq!(mesh.a(name), [format!("{name} A {VIP}")]);
    }
    for name in [
        "api.",
        "web.shop.",
        "nothing.",
        "web.ns.svc.cluster.",
        ".",
        "a\\.b.",
        "svc.cluster.local.",
    ] {
        assert_eq!(mesh.a(name), ["forward"], "{name}");
    }
}

#[test]
fn pods_behind_a_subdomain() {
    let mesh = mesh([service("pod-0.db.ns.svc.cluster.local")]);
    for name in ["pod-0.db.", "pod-0.db.ns.", "pod-0.db.ns.svc.", "pod-0.db.ns.svc.cluster.local."]
    {
        assert_eq!(mesh.a(name), [format!("{name} A {VIP}")]);
    }
}

#[test]
fn a_stripped_search_domain_is_told_by_a_cname() {
    let mesh = mesh([service("www.example.com"), service("web.ns.svc.cluster.local")]);
    for search in ["ns.svc.cluster.local.", "svc.cluster.local.", "cluster.local."] {
        let name = format!("www.example.com.{search}");
        let alias = format!("{name} CNAME www.example.com.");
        assert_eq!(mesh.a(&name), [alias, format!("www.example.com. A {VIP}")]);
    }
    // The stripped name may be short as well.
    assert_eq!(
        mesh.a("web.ns.svc.cluster.local.ns.svc.cluster.local."),
        [
            "web.ns.svc.cluster.local.ns.svc.cluster.local. CNAME web.ns.svc.cluster.local."
                .to_owned(),
            format!("web.ns.svc.cluster.local. A {VIP}"),
        ]
    );
    assert_eq!(mesh.a("www.example.com.other.svc.cluster.local."), ["forward"]);
}

#[test]
fn the_pods_own_search_list_replaces_the_usual_one() {
    let mut mesh = mesh([service("www.example.com")]);
    mesh.searches = vec!["corp.example".into()];
    assert_eq!(mesh.a("www.example.com.corp.example.").len(), 2);
    assert_eq!(mesh.a("www.example.com.ns.svc.cluster.local."), ["forward"]);
}

#[test]
fn wildcards_from_the_most_specific() {
    let mut wide = service("*.com");
    wide.vips = vips(&["10.96.0.2"]);
    let mesh = mesh([service("*.example.com"), wide]);
    assert_eq!(mesh.a("a.example.com."), [format!("a.example.com. A {VIP}")]);
    assert_eq!(mesh.a("a.b.example.com."), [format!("a.b.example.com. A {VIP}")]);
    assert_eq!(mesh.a("other.com."), ["other.com. A 10.96.0.2"]);
    assert_eq!(mesh.a("com."), ["forward"]);
    // No CNAME: the wildcard is no name.
    let name = "a.example.com.ns.svc.cluster.local.";
    assert_eq!(mesh.a(name), [format!("{name} A {VIP}")]);
}

#[test]
fn an_exact_name_of_a_later_candidate_loses_to_an_earlier_wildcard() {
    let mut wildcard = service("*.ns.svc.cluster.local");
    wildcard.vips = vips(&["10.96.0.2"]);
    let mesh = mesh([wildcard, service("www.example.com")]);
    let name = "www.example.com.ns.svc.cluster.local.";
    assert_eq!(mesh.a(name), [format!("{name} A 10.96.0.2")]);
}

#[test]
fn services_without_addresses() {
    let mut outside = service("www.example.com");
    outside.vips.clear();
    let mut headless = service("db.ns.svc.cluster.local");
    headless.vips.clear();
    let endpoints = [
        endpoint("one", &["2001:db8::1", "10.0.0.1", "10.0.0.9"], &headless),
        endpoint("two", &["10.0.0.2"], &headless),
        Workload { status: HealthStatus::Unhealthy, ..endpoint("ill", &["10.0.0.3"], &headless) },
        Workload { network: "far".into(), ..endpoint("far", &["10.0.0.4"], &headless) },
        endpoint("none", &[], &headless),
    ];
    let mesh = mesh([outside.clone(), headless.clone()]).with(endpoints);
    assert_eq!(mesh.a("www.example.com."), ["forward"], "not Kubernetes' own: ask elsewhere");
    assert_eq!(mesh.a("db."), ["db. A 10.0.0.1", "db. A 10.0.0.2"], "one of each endpoint");
    assert_eq!(mesh.aaaa("db."), ["db. AAAA 2001:db8::1"]);
}

#[test]
fn headless_without_endpoints_exists_all_the_same() {
    let mut headless = service("db.ns.svc.cluster.local");
    headless.vips.clear();
    assert_eq!(mesh([headless.clone()]).a("db."), ["no records"]);
    headless.load_balancer = Some(LoadBalancer {
        routing_preferences: Vec::new(),
        mode: Default::default(),
        health_policy: HealthPolicy::AllowAll,
    });
    let ill =
        Workload { status: HealthStatus::Unhealthy, ..endpoint("ill", &["10.0.0.3"], &headless) };
    assert_eq!(mesh([headless]).with([ill]).a("db."), ["db. A 10.0.0.3"]);
}

#[test]
fn a_service_without_address_does_not_hide_one_that_has() {
    let mut nearer = service("www.example.com");
    nearer.namespace = "ns".into();
    nearer.vips.clear();
    let mesh = mesh([nearer, service("www.example.com")]);
    assert_eq!(mesh.a("www.example.com."), [format!("www.example.com. A {VIP}")]);
}

#[test]
fn visibility() {
    let hidden = |namespace: &str| Service {
        namespace: namespace.into(),
        visibility: Visibility::Namespace,
        ..service("www.example.com")
    };
    assert_eq!(mesh([hidden("other")]).a("www.example.com."), ["forward"]);
    assert_eq!(mesh([hidden("ns")]).a("www.example.com."), [format!("www.example.com. A {VIP}")]);
}

#[test]
fn ranking() {
    let at = |namespace: &str, canonical: bool, vip: &str| Service {
        namespace: namespace.into(),
        canonical,
        vips: vips(&[vip]),
        ..service("www.example.com")
    };
    let own = at("ns", false, "10.96.0.1");
    let canonical = at("m", true, "10.96.0.2");
    let preferred = at("pref", false, "10.96.0.3");
    let first = at("a", false, "10.96.0.4");
    for (services, winner) in [
        (vec![&first, &preferred, &canonical, &own], "10.96.0.1"),
        (vec![&first, &preferred, &canonical], "10.96.0.2"),
        (vec![&first, &preferred], "10.96.0.3"),
        (vec![&first, &at("b", false, "10.96.0.5")], "10.96.0.4"),
    ] {
        let mut mesh = mesh(services.into_iter().cloned());
        mesh.preferred_namespace = Some("pref");
        assert_eq!(mesh.a("www.example.com."), [format!("www.example.com. A {winner}")]);
    }
}

#[test]
fn addresses_of_the_family_and_of_the_clients_network() {
    let mut dual = service("web.ns.svc.cluster.local");
    dual.vips = vec![
        on("", "10.96.0.1"),
        on("", "2001:db8::1"),
        on("far", "10.96.0.2"),
        on("", "10.96.0.3"),
    ];
    let mesh = mesh([dual]);
    assert_eq!(mesh.a("web."), ["web. A 10.96.0.1", "web. A 10.96.0.3"]);
    assert_eq!(mesh.aaaa("web."), ["web. AAAA 2001:db8::1"]);
}

#[test]
fn no_address_of_the_family_is_an_empty_answer() {
    let mesh = mesh([service("web.ns.svc.cluster.local")]);
    assert_eq!(mesh.aaaa("web."), ["no records"]);
    assert_eq!(mesh.aaaa("web.ns.svc.cluster.local.svc.cluster.local."), ["no records"]);
}

#[test]
fn families() {
    const NOT: &str = "service does not support this record type";
    let v4 = || vec!["web. A 10.96.0.1".to_owned()];
    let v6 = || vec!["web. AAAA 2001:db8::1".to_owned()];
    let not = || vec![NOT.to_owned()];
    for (families, ipv6, a, aaaa) in [
        (None, true, v4(), v6()),
        (Some(IpFamilies::Dual), true, v4(), v6()),
        (Some(IpFamilies::V4), true, v4(), not()),
        (Some(IpFamilies::V6), true, not(), v6()),
        (None, false, v4(), not()),
    ] {
        let mut web = service("web.ns.svc.cluster.local");
        web.vips = vips(&[VIP, "2001:db8::1"]);
        web.ip_families = families;
        let mut mesh = mesh([web]);
        mesh.ipv6 = ipv6;
        assert_eq!((mesh.a("web."), mesh.aaaa("web.")), (a, aaaa), "{families:?} {ipv6}");
        let unknown = if ipv6 { "unknown, families" } else { "unknown, no IPv6" };
        assert_eq!(mesh.aaaa("nothing."), ["forward"], "{unknown}");
    }
}

#[test]
fn answers_stay_of_a_sensible_size() {
    let mut headless = service("db.ns.svc.cluster.local");
    headless.vips.clear();
    let many = (0..2000).map(|number| {
        let ip = format!("10.1.{}.{}", number / 250, number % 250);
        endpoint(&format!("uid-{number}"), &[&ip], &headless)
    });
    assert_eq!(mesh([headless.clone()]).with(many).a("db.").len(), MAX_ADDRESSES);
}

#[test]
fn what_is_refused_at_sight() {
    let question = || Query::query(Name::from_ascii("web.").unwrap(), RecordType::A);
    let query = |op_code, questions: usize, version: Option<u8>| {
        let mut query = Message::new(1, MessageType::Query, op_code);
        query.queries.extend(std::iter::repeat_with(question).take(questions));
        query.edns = version.map(|version| {
            let mut edns = Edns::new();
            edns.set_version(version);
            edns
        });
        refusal(&query)
    };
    assert_eq!(query(OpCode::Query, 1, None), None);
    assert_eq!(query(OpCode::Query, 1, Some(0)), None);
    assert_eq!(query(OpCode::Query, 1, Some(1)), Some(ResponseCode::BADVERS));
    assert_eq!(query(OpCode::Query, 0, None), Some(ResponseCode::FormErr));
    assert_eq!(query(OpCode::Query, 2, None), Some(ResponseCode::FormErr));
    for op_code in [OpCode::Status, OpCode::Notify, OpCode::Update] {
        assert_eq!(query(op_code, 1, None), Some(ResponseCode::NotImp), "{op_code:?}");
    }
}
