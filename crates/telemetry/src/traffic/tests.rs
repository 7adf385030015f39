use ambit_model::{Locality, Service, Workload};
use prometheus_client::encoding::text::encode;

use super::*;
use crate::labels::{ConnectionSecurity, LabelValue, PeerLabels, ServiceLabels};

fn setup() -> (Registry, TrafficMetrics) {
    let mut registry = Registry::with_prefix("istio");
    let metrics = TrafficMetrics::register(&mut registry);
    (registry, metrics)
}

fn exposed(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}

/// The samples of `name`, without the name.
fn samples(registry: &Registry, name: &str) -> Vec<String> {
    exposed(registry)
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with('{'))
        .map(str::to_owned)
        .collect()
}

fn labels() -> TrafficLabels {
    let client = Workload {
        namespace: "default".into(),
        workload_name: "curl".into(),
        canonical_name: "curl-app".into(),
        canonical_revision: "v1".into(),
        locality: Locality { region: "r1".into(), zone: "".into(), subzone: "".into() },
        ..Workload::default()
    };
    let service = Service {
        name: "web".into(),
        namespace: "shop".into(),
        hostname: "web.shop.svc.cluster.local".into(),
        ..Service::default()
    };
    TrafficLabels {
        source: Some(
            PeerLabels::from_workload(&client).with_principal("spiffe://cluster.local/ns/a/sa/b"),
        ),
        destination_service: Some(ServiceLabels::from(&service)),
        security: ConnectionSecurity::MutualTls,
        ..TrafficLabels::new(Reporter::Source)
    }
}

const UNKNOWN_ENDS: &str = concat!(
    r#"source_workload="unknown",source_canonical_service="unknown",source_canonical_revision="unknown","#,
    r#"source_workload_namespace="unknown",source_principal="unknown",source_app="unknown","#,
    r#"source_version="unknown",source_cluster="unknown",destination_service="unknown","#,
    r#"destination_service_namespace="unknown",destination_service_name="unknown","#,
    r#"destination_workload="unknown",destination_canonical_service="unknown","#,
    r#"destination_canonical_revision="unknown",destination_workload_namespace="unknown","#,
    r#"destination_principal="unknown",destination_app="unknown",destination_version="unknown","#,
    r#"destination_cluster="unknown",request_protocol="tcp",response_flags="-","#,
    r#"connection_security_policy="unknown""#,
);

#[test]
fn every_label_in_order() {
    let (registry, metrics) = setup();
    let _open = metrics.open(&labels());
    let expected = concat!(
        r#"{reporter="source",source_workload="curl",source_canonical_service="curl-app","#,
        r#"source_canonical_revision="v1",source_workload_namespace="default","#,
        r#"source_principal="spiffe://cluster.local/ns/a/sa/b",source_app="curl-app","#,
        r#"source_version="v1",source_cluster="Kubernetes","#,
        r#"destination_service="web.shop.svc.cluster.local",destination_service_namespace="shop","#,
        r#"destination_service_name="web",destination_workload="unknown","#,
        r#"destination_canonical_service="unknown",destination_canonical_revision="unknown","#,
        r#"destination_workload_namespace="unknown",destination_principal="unknown","#,
        r#"destination_app="unknown",destination_version="unknown",destination_cluster="unknown","#,
        r#"request_protocol="tcp",response_flags="-",connection_security_policy="mutual_tls","#,
        r#"source_region="r1",source_zone="unknown",destination_region="unknown","#,
        r#"destination_zone="unknown"} 1"#,
    );
    assert_eq!(samples(&registry, "istio_tcp_connections_opened_total"), [expected]);
}

#[test]
fn locality_only_where_an_end_is_known() {
    let (registry, metrics) = setup();
    let _open = metrics.open(&TrafficLabels::new(Reporter::Destination));
    let expected = format!(r#"{{reporter="destination",{UNKNOWN_ENDS}}} 1"#);
    assert_eq!(samples(&registry, "istio_tcp_connections_opened_total"), [expected]);
}

#[test]
fn a_connection_counts_once_in_each_counter() {
    let (registry, metrics) = setup();
    let count = |name: &str| -> Vec<String> {
        samples(&registry, name)
            .iter()
            .map(|sample| {
                let flags = sample.split("response_flags=\"").nth(1).unwrap();
                let (flags, rest) = flags.split_once('"').unwrap();
                format!("{flags} {}", rest.rsplit(' ').next().unwrap())
            })
            .collect()
    };
    let labels = labels();
    let first = metrics.open(&labels);
    first.received(10);
    first.received(5);
    first.sent(7);
    first.close(ResponseFlags::None);
    metrics.open(&labels).close(ResponseFlags::Deny);
    drop(metrics.open(&labels));

    assert_eq!(count("istio_tcp_connections_opened_total"), ["- 3"]);
    assert_eq!(count("istio_tcp_received_bytes_total"), ["- 15"]);
    assert_eq!(count("istio_tcp_sent_bytes_total"), ["- 7"]);
    assert_eq!(count("istio_tcp_connections_closed_total"), ["- 2", "DENY 1"]);
    assert_eq!(count("istio_tcp_connections_failed_total"), ["DENY 1"]);
}

#[test]
fn flags_index_their_own_counter() {
    for (index, flags) in ResponseFlags::ALL.into_iter().enumerate() {
        assert_eq!(flags as usize, index, "{flags:?}");
    }
}

#[test]
fn sockets_are_counted_while_they_live() {
    let (registry, metrics) = setup();
    let (first, second) = (metrics.socket(Reporter::Source), metrics.socket(Reporter::Source));
    assert_eq!(samples(&registry, "istio_tcp_sockets_open"), [r#"{reporter="source"} 2"#]);
    drop((first, second));
    assert_eq!(samples(&registry, "istio_tcp_sockets_open"), [r#"{reporter="source"} 0"#]);
}

#[test]
fn series_go_one_to_two_sweeps_after_their_last_connection() {
    let (registry, metrics) = setup();
    let opened = || samples(&registry, "istio_tcp_connections_opened_total").len();
    let held = metrics.open(&labels());
    metrics.open(&TrafficLabels::new(Reporter::Source)).close(ResponseFlags::None);
    assert_eq!((metrics.sweep(), opened()), (0, 2));
    assert_eq!((metrics.sweep(), opened()), (1, 1), "the idle one");
    assert_eq!((metrics.sweep(), opened()), (0, 1), "a held one stays");
    held.close(ResponseFlags::None);
    assert_eq!(metrics.sweep(), 0, "its end may not have been scraped yet");
    assert_eq!((metrics.sweep(), opened()), (1, 0));
}

#[test]
fn too_many_series_share_one() {
    let mut registry = Registry::with_prefix("istio");
    let table = Arc::new(Table { series: RwLock::default(), max_series: 2 });
    registry.register_collector(Box::new(TrafficCollector(Arc::clone(&table))));
    let metrics = TrafficMetrics { table, sockets: Family::default() };
    for namespace in ["a", "b", "c", "d"] {
        let peer = PeerLabels { namespace: namespace.into(), ..PeerLabels::default() };
        let labels =
            TrafficLabels { source: Some(peer), ..TrafficLabels::new(Reporter::Destination) };
        metrics.open(&labels).close(ResponseFlags::None);
    }
    let opened = samples(&registry, "istio_tcp_connections_opened_total");
    assert_eq!(opened.len(), 3);
    let shared = format!(r#"{{reporter="destination",{UNKNOWN_ENDS}}} 2"#);
    assert!(opened.contains(&shared), "{opened:?}");
}

#[test]
fn hostile_values_stay_inside_their_quotes() {
    let (registry, metrics) = setup();
    let peer = PeerLabels {
        workload: LabelValue::from("a\"} 1\nforged_total{x=\"\\"),
        ..PeerLabels::default()
    };
    let labels = TrafficLabels { source: Some(peer), ..TrafficLabels::new(Reporter::Destination) };
    let _open = metrics.open(&labels);
    let text = exposed(&registry);
    assert!(!text.lines().any(|line| line.starts_with("forged")), "{text}");
    assert!(text.contains(r#"source_workload="a\"} 1\nforged_total{x=\"\\","#), "{text}");
}

#[test]
fn endless_values_are_cut() {
    let long = LabelValue::from("ä".repeat(10_000).as_str());
    assert_eq!(long.as_deref(), Some("ä".repeat(256).as_str()));
}
