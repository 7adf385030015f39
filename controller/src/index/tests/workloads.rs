//! Pods, WorkloadEntries and endpoints.

use std::collections::BTreeMap;

use ambit_model::{
    ApplicationTunnel, ApplicationTunnelProtocol, HealthStatus, Locality, NamespacedHostname,
    NetworkMode, PortMap, TunnelProtocol, WorkloadType,
};

use super::*;

fn shares(workload: &Workload) -> Vec<(String, Vec<(u16, u16)>)> {
    let ports = |ports: &PortMap| ports.iter().map(|(k, v)| (*k, *v)).collect();
    workload.services.iter().map(|(k, v)| (k.hostname.to_string(), ports(v))).collect()
}

#[test]
fn a_pod_becomes_a_workload() {
    let mesh = Mesh::new(
        "
apiVersion: v1
kind: Pod
metadata:
  name: web-6d4b75cb6d-hwzrq
  namespace: shop
  labels: {app: web, version: v2, pod-template-hash: 6d4b75cb6d}
  annotations: {ambient.istio.io/redirection: enabled}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-6d4b75cb6d, uid: u, controller: true}]
spec: {nodeName: node-a, serviceAccountName: web-sa, containers: [{name: c}]}
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]
  conditions: [{type: Ready, status: 'True'}]
---
apiVersion: v1
kind: Node
metadata:
  name: node-a
  labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z, topology.istio.io/subzone: s}
",
    );
    let expected = Workload {
        uid: "Kubernetes//Pod/shop/web-6d4b75cb6d-hwzrq".into(),
        name: "web-6d4b75cb6d-hwzrq".into(),
        namespace: "shop".into(),
        service_account: "web-sa".into(),
        workload_ips: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        protocol: TunnelProtocol::Hbone,
        workload_name: "web".into(),
        workload_type: WorkloadType::Pod,
        canonical_name: "web".into(),
        canonical_revision: "v2".into(),
        node: "node-a".into(),
        locality: Locality { region: "r".into(), zone: "z".into(), subzone: "s".into() },
        ..Workload::default()
    };
    assert_eq!(mesh.pod("web-6d4b75cb6d-hwzrq"), expected);
}

#[test]
fn settings_and_the_root_namespace_name_cluster_trust_domain_and_network() {
    let settings = Settings {
        cluster_id: "c1".into(),
        trust_domain: "example.org".into(),
        root_namespace: "mesh".into(),
        ..Settings::default()
    };
    let root = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: mesh, labels: {topology.istio.io/network: net-1}}\n";
    let yaml = format!("{}{root}", pod("web", "10.0.0.1", ""));
    let mesh = Mesh::with(settings, &yaml);
    let workload = mesh.workload("c1//Pod/shop/web").unwrap();
    assert_eq!((&*workload.cluster_id, &*workload.network), ("c1", "net-1"));
    assert_eq!(workload.identity().to_string(), "spiffe://example.org/ns/shop/sa/web");
}

#[test]
fn only_pods_with_an_address_that_have_not_ended_are_workloads() {
    for (status, expected) in [
        ("{phase: Pending}", false),
        ("{phase: Pending, podIP: 10.0.0.1}", true),
        ("{phase: Running, podIP: 10.0.0.1}", true),
        ("{phase: Succeeded, podIP: 10.0.0.1}", false),
        ("{phase: Failed, podIP: 10.0.0.1}", false),
    ] {
        let mesh = Mesh::new(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: shop}}\nstatus: {status}"
        ));
        assert_eq!(mesh.has_pod("p"), expected, "{status}");
    }
}

#[test]
fn health_is_readiness_unless_the_pod_is_going() {
    let conditions = "conditions: [{type: Ready, status: 'True'}]";
    for (metadata, status, expected) in [
        ("", conditions, HealthStatus::Healthy),
        ("", "conditions: [{type: Ready, status: 'False'}]", HealthStatus::Unhealthy),
        ("", "conditions: []", HealthStatus::Unhealthy),
        (", deletionTimestamp: '2026-01-01T00:00:00Z'", conditions, HealthStatus::Unhealthy),
    ] {
        let mesh = Mesh::new(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: shop{metadata}}}\nstatus: {{podIP: 10.0.0.1, {status}}}"
        ));
        assert_eq!(mesh.pod("p").status, expected, "{metadata} {status}");
    }
}

#[test]
fn protocol_and_network_mode() {
    use NetworkMode::{HostNetwork, Standard};
    use TunnelProtocol::{Hbone, Tcp};
    for (metadata, spec, expected) in [
        ("", "", (Tcp, false, Standard)),
        ("annotations: {ambient.istio.io/redirection: enabled}", "", (Hbone, false, Standard)),
        ("annotations: {ambient.istio.io/redirection: pending}", "", (Tcp, false, Standard)),
        ("labels: {networking.istio.io/tunnel: http}", "", (Hbone, true, Standard)),
        ("", "hostNetwork: true", (Tcp, false, HostNetwork)),
    ] {
        let mesh = Mesh::new(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: shop, {metadata}}}\nspec: {{{spec}}}\nstatus: {{podIP: 10.0.0.1}}"
        ));
        let w = mesh.pod("p");
        assert_eq!((w.protocol, w.native_tunnel, w.network_mode), expected, "{metadata} {spec}");
    }
}

#[test]
fn a_namespace_has_its_local_traffic_encrypted() {
    let namespace = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, annotations: {{ambit.dev/encrypt-local: '{value}'}}}}"
        )
    };
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}\nstatus: {podIP: 10.0.0.1}";
    for (value, encrypted) in [("true", true), ("false", false), ("yes", false)] {
        let mesh = Mesh::new(&format!("{pod}\n---\n{}", namespace(value)));
        assert_eq!(mesh.pod("p").encrypt_local, encrypted, "{value}");
    }
    assert!(!Mesh::new(pod).pod("p").encrypt_local);
}

#[test]
fn canonical_names_follow_the_first_label() {
    for (labels, expected) in [
        ("{}", ("p", "latest")),
        ("{app: a}", ("a", "latest")),
        ("{app: a, app.kubernetes.io/name: b, version: v1}", ("b", "v1")),
        (
            "{app: a, service.istio.io/canonical-name: c, service.istio.io/canonical-revision: r, version: v1}",
            ("c", "r"),
        ),
        ("{app.kubernetes.io/version: '7', version: v1}", ("p", "7")),
    ] {
        let mesh = Mesh::new(&pod("p", "10.0.0.1", &format!("labels: {labels}")));
        let w = mesh.pod("p");
        assert_eq!((&*w.canonical_name, &*w.canonical_revision), expected, "{labels}");
    }
}

#[test]
fn owners_lose_what_revisions_and_runs_add_to_their_names() {
    for (owner, labels, expected) in [
        ("{kind: ReplicaSet, name: web-abc}", "{pod-template-hash: abc}", "web"),
        ("{kind: ReplicaSet, name: web-abc}", "{}", "web-abc"),
        ("{kind: Job, name: nightly-28012345}", "{}", "nightly"),
        ("{kind: Job, name: once-7}", "{}", "once-7"),
        ("{kind: StatefulSet, name: db}", "{}", "db"),
    ] {
        let owner = owner.replace('}', ", apiVersion: x, uid: u, controller: true}");
        let mesh = Mesh::new(&pod(
            "p",
            "10.0.0.1",
            &format!("labels: {labels}, ownerReferences: [{owner}]"),
        ));
        assert_eq!(&*mesh.pod("p").workload_name, expected);
    }
}

#[test]
fn named_target_ports_are_each_pods_own() {
    let other = pod("b", "10.0.0.2", "labels: {app: web}")
        .replace("containerPort: 8080", "containerPort: 9090");
    let none = pod("c", "10.0.0.3", "labels: {app: web}").replace("name: http,", "name: admin,");
    let udp = pod("d", "10.0.0.4", "labels: {app: web}").replace("8080", "8080, protocol: UDP");
    let sidecar = pod("e", "10.0.0.5", "labels: {app: web}")
        .replace("containers: [", "initContainers: [{name: s, restartPolicy: Always, ports: [{name: http, containerPort: 7070}]}], containers: [")
        .replace("name: http, containerPort: 8080", "containerPort: 8080");
    let yaml = [
        service("web", "10.1.0.1", ""),
        pod("a", "10.0.0.1", "labels: {app: web}"),
        other,
        none,
        udp,
        sidecar,
    ]
    .concat();
    let mesh = Mesh::new(&yaml);
    let host = || "web.shop.svc.cluster.local".to_owned();
    assert_eq!(shares(&mesh.pod("a")), [(host(), vec![(80, 8080)])]);
    assert_eq!(shares(&mesh.pod("b")), [(host(), vec![(80, 9090)])]);
    assert_eq!(shares(&mesh.pod("c")), [(host(), vec![])]);
    assert_eq!(shares(&mesh.pod("d")), [(host(), vec![])]);
    assert_eq!(shares(&mesh.pod("e")), [(host(), vec![(80, 7070)])]);
    assert_eq!(mesh.svc("web").ports, PortMap::from([(80, 0)]), "named: each endpoint has its own");
}

#[test]
fn selectors_select_within_the_namespace_and_never_everything() {
    let elsewhere =
        pod("b", "10.0.0.2", "labels: {app: web}").replace("namespace: shop", "namespace: other");
    let unlabelled = pod("c", "10.0.0.3", "");
    let all = service("all", "10.1.0.2", "").replace("selector: {app: all}", "selector: {}");
    let yaml = [
        service("web", "10.1.0.1", ""),
        all,
        pod("a", "10.0.0.1", "labels: {app: web, x: y}"),
        elsewhere,
        unlabelled,
    ]
    .concat();
    let mesh = Mesh::new(&yaml);
    assert_eq!(shares(&mesh.pod("a")).len(), 1);
    assert_eq!(shares(&mesh.pod("other/b")), []);
    assert_eq!(shares(&mesh.pod("c")), []);
}

#[test]
fn an_address_belongs_to_the_newest_pod_that_stays() {
    let at = |name: &str, more: &str| pod(name, "10.0.0.1", more);
    let old = at("old", "creationTimestamp: '2026-01-01T00:00:00Z'");
    let new = at("new", "creationTimestamp: '2026-01-02T00:00:00Z'");
    let mut mesh = Mesh::new(&[old.clone(), new].concat());
    assert_eq!((mesh.has_pod("old"), mesh.has_pod("new")), (false, true));
    assert_eq!(
        mesh.problems(),
        [
            "Pod shop/old: status.podIP: 10.0.0.1 is already the address of Pod shop/new; the pod is left out"
        ]
    );
    let going = at(
        "new",
        "creationTimestamp: '2026-01-02T00:00:00Z', deletionTimestamp: '2026-01-03T00:00:00Z'",
    );
    mesh.write("mesh.yaml", &[old.clone(), going].concat());
    assert_eq!((mesh.has_pod("old"), mesh.has_pod("new")), (true, false));
    mesh.write("mesh.yaml", &old);
    assert!(mesh.has_pod("old"));
    assert_eq!(mesh.problems(), [""; 0]);
}

#[test]
fn pods_of_the_host_network_share_their_nodes_address() {
    let host = |name| pod(name, "10.0.0.1", "").replace("spec: {", "spec: {hostNetwork: true, ");
    let mesh = Mesh::new(&[host("a"), host("b"), pod("c", "10.0.0.1", "")].concat());
    assert!(mesh.has_pod("a") && mesh.has_pod("b") && mesh.has_pod("c"));
    assert_eq!(mesh.problems(), [""; 0]);
}

#[test]
fn a_workload_entry_stands_behind_services_like_a_pod() {
    let entry = "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop, labels: {networking.istio.io/tunnel: http}}
spec:
  address: 192.168.0.7
  labels: {app: web}
  serviceAccount: vm-sa
  network: dc
  locality: r/z/s
  weight: 5
  ports: {http: 8888}
";
    let mesh = Mesh::new(&[service("web", "10.1.0.1", "").as_str(), entry].concat());
    let vm = mesh.workload("Kubernetes/networking.istio.io/WorkloadEntry/shop/vm").unwrap();
    assert_eq!(vm.workload_ips, ["192.168.0.7".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!((&*vm.service_account, &*vm.network, vm.capacity), ("vm-sa", "dc", 5));
    assert_eq!(vm.locality, Locality { region: "r".into(), zone: "z".into(), subzone: "s".into() });
    assert_eq!((vm.protocol, vm.native_tunnel), (TunnelProtocol::Hbone, true));
    assert_eq!(&*vm.canonical_name, "web");
    assert_eq!(shares(&vm), [("web.shop.svc.cluster.local".to_owned(), vec![(80, 8888)])]);
}

#[test]
fn endpoints_of_a_service_entry_are_workloads_of_each_of_its_hosts() {
    let mesh = Mesh::new(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.example, db2.example]
  resolution: STATIC
  ports: [{number: 5432, name: pg, targetPort: 15432}, {number: 80, name: http}]
  endpoints:
  - {address: 10.9.0.1, ports: {pg: 6432}, weight: 2}
  - {address: 10.9.0.1}
  - {address: db.internal}
",
    );
    let uid = |end: &str| format!("Kubernetes/networking.istio.io/ServiceEntry/shop/db/{end}");
    let first = mesh.workload(&uid("10.9.0.1")).unwrap();
    let ports = vec![(80, 80), (5432, 6432)];
    assert_eq!(
        shares(&first),
        [("db.example".to_owned(), ports.clone()), ("db2.example".to_owned(), ports)]
    );
    assert_eq!((first.capacity, first.protocol), (2, TunnelProtocol::Tcp));
    let named = mesh.workload(&uid("db.internal")).unwrap();
    assert_eq!((&*named.hostname, named.workload_ips.len()), ("db.internal", 0));
    assert_eq!(
        mesh.problems(),
        [
            "ServiceEntry shop/db: spec.endpoints[1].address: 10.9.0.1 is an endpoint already; this one is left out"
        ]
    );
}

#[test]
fn without_endpoints_dns_finds_the_hosts_themselves() {
    let entry = |resolution: &str| {
        Mesh::new(&format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e, namespace: shop}}\nspec: {{hosts: [a.example, '*.b.example'], resolution: {resolution}, ports: [{{number: 443, name: tls}}]}}"
        ))
    };
    let uid = "Kubernetes/networking.istio.io/ServiceEntry/shop/e/a.example";
    let mesh = entry("DNS");
    let host = mesh.workload(uid).unwrap();
    assert_eq!(&*host.hostname, "a.example");
    assert_eq!(shares(&host), [("a.example".to_owned(), vec![(443, 443)])]);
    assert_eq!(mesh.names(ResourceType::Address).len(), 3, "no workload for the wildcard");
    assert!(entry("NONE").workload(uid).is_none());
    assert!(entry("STATIC").workload(uid).is_none());
}

#[test]
fn a_service_entry_selects_pods_and_workload_entries() {
    let entry = "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e, namespace: shop}
spec: {hosts: [web.example], resolution: STATIC, workloadSelector: {labels: {app: web}}, ports: [{number: 80, name: http, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop}
spec: {address: 192.168.0.7, labels: {app: web}, ports: {http: 9}}
";
    let mesh = Mesh::new(&[pod("a", "10.0.0.1", "labels: {app: web}").as_str(), entry].concat());
    assert_eq!(shares(&mesh.pod("a")), [("web.example".to_owned(), vec![(80, 8080)])]);
    let vm = mesh.workload("Kubernetes/networking.istio.io/WorkloadEntry/shop/vm").unwrap();
    assert_eq!(shares(&vm), [("web.example".to_owned(), vec![(80, 9)])]);
}

#[test]
fn endpoints_that_are_no_pods_are_found_as_endpoints_only() {
    let slice = "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ext-1, namespace: shop, labels: {kubernetes.io/service-name: ext}}
addressType: IPv4
ports: [{name: http, port: 8443}, {name: other, port: 1}]
endpoints:
- {addresses: [172.16.0.1], conditions: {ready: true}}
- {addresses: [172.16.0.2], conditions: {ready: false}}
- {addresses: [10.0.0.9], targetRef: {kind: Pod, name: p}}
";
    let ext = service("ext", "10.1.0.5", "").replace("selector: {app: ext},", "");
    let mesh = Mesh::new(&[ext.as_str(), slice].concat());
    let uid = |ip: &str| format!("Kubernetes/discovery.k8s.io/EndpointSlice/shop/ext-1/{ip}");
    let first = mesh.workload(&uid("172.16.0.1")).unwrap();
    assert_eq!(
        (first.protocol, first.network_mode),
        (TunnelProtocol::Tcp, NetworkMode::HostNetwork)
    );
    assert_eq!(first.status, HealthStatus::Healthy);
    let host = NamespacedHostname::new("shop", "ext.shop.svc.cluster.local");
    assert_eq!(first.services, BTreeMap::from([(host, PortMap::from([(80, 8443)]))]));
    assert_eq!(mesh.workload(&uid("172.16.0.2")).unwrap().status, HealthStatus::Unhealthy);
    assert!(mesh.workload(&uid("10.0.0.9")).is_none());
}

#[test]
fn pods_that_somebody_has_written_into_a_slice_stand_behind_its_service() {
    let slice = |labels: &str, target: &str| {
        format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: ext-1, namespace: shop, labels: {{kubernetes.io/service-name: ext{labels}}}}}
addressType: IPv4
ports: [{{name: http, port: 8443}}]
endpoints: [{{addresses: [10.0.0.1], targetRef: {{kind: Pod, name: a{target}}}}}]
"
        )
    };
    let ext = service("ext", "10.1.0.5", "").replace("selector: {app: ext},", "");
    let behind = [("ext.shop.svc.cluster.local".to_owned(), vec![(80, 8443)])];
    let own = ", endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io";
    for (labels, target, expected) in [
        ("", "", &behind[..]),
        ("", ", namespace: shop", &behind),
        ("", ", namespace: other", &[]),
        ("", "}, conditions: {ready: false", &[]),
        (own, "", &[]),
    ] {
        let pod = pod("a", "10.0.0.1", "labels: {app: web}");
        let mesh = Mesh::new(&[pod, ext.clone(), slice(labels, target)].concat());
        assert_eq!(shares(&mesh.pod("a")), expected, "{labels} {target}");
    }
}

#[test]
fn a_waypoints_pods_say_how_they_want_their_traffic() {
    let gateway = |binding: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: wp, namespace: shop, annotations: {{ambient.istio.io/waypoint-inbound-binding: {binding}}}}}\nspec: {{gatewayClassName: istio-waypoint}}\n"
        )
    };
    let part = pod("wp-1", "10.0.0.1", "labels: {gateway.networking.k8s.io/gateway-name: wp}");
    let proxy = |port| Some(ApplicationTunnel { protocol: ApplicationTunnelProtocol::Proxy, port });
    for (binding, expected) in
        [("PROXY/15088", proxy(Some(15088))), ("PROXY", proxy(None)), ("NONE", None)]
    {
        let mesh = Mesh::new(&[part.clone(), gateway(binding)].concat());
        assert_eq!(mesh.pod("wp-1").application_tunnel, expected, "{binding}");
        assert_eq!(mesh.problems(), [""; 0]);
    }
    for binding in ["PROXY/0", "PROXY/x", "HTTP/80"] {
        let mesh = Mesh::new(&[part.clone(), gateway(binding)].concat());
        assert_eq!(mesh.pod("wp-1").application_tunnel, None);
        assert_eq!(mesh.problems().len(), 1, "{binding}");
    }
}
