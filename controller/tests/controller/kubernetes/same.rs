//! The same objects from files and from a cluster.

use ambit_controller::index::{Index, Settings};
use ambit_controller::watch::{Directory, Kind};
use ambit_xds::ResourceType;

use super::source;
use crate::api::Api;
use crate::harness::{Files, STRICT, pod, service, soon};

/// One of every kind, good and bad ones.
const MESH: &str = r#"---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}}
---
apiVersion: v1
kind: Node
metadata: {name: node-a, labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: api-1, namespace: shop, labels: {kubernetes.io/service-name: api}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.9.9.9], conditions: {ready: true}}]
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {clusterIP: 10.1.0.9, ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop, labels: {istio.io/waypoint-for: all}}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
status: {addresses: [{type: IPAddress, value: 10.1.0.15}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules: [{matches: [{path: {type: PathPrefix, value: /v2}}], backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: api, namespace: client}
spec:
  parentRefs: [{group: "", kind: Service, name: api, namespace: shop}]
  rules: [{matches: [{method: {service: a.B}}], backendRefs: [{name: web, namespace: shop, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: web, namespace: shop}
spec:
  from: [{group: gateway.networking.k8s.io, kind: GRPCRoute, namespace: client}]
  to: [{group: "", kind: Service}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db, namespace: shop}
spec:
  hosts: [api]
  http: [{route: [{destination: {host: api, subset: v1}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api, namespace: shop}
spec:
  host: api
  subsets: [{name: v1, labels: {app: web}}]
---
apiVersion: v1
kind: Secret
metadata: {name: front, namespace: shop}
type: kubernetes.io/tls
data: {tls.crt: YQ==, tls.key: Yg==}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ca, namespace: shop}
data: {ca.crt: authorities, other: much}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other, namespace: shop}
data: {application.yaml: much}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: api, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: api}]
  validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}], hostname: api.example}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more, namespace: shop}
spec:
  parentRef: {name: front}
  listeners: [{name: a, port: 81, protocol: HTTP}]
---
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: shop}
type: Opaque
data: {token: YQ==}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: legacy, namespace: shop}
spec:
  hosts: [legacy.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: TLS}]
  endpoints: [{address: 192.0.2.7}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop}
spec: {address: 192.0.2.8, serviceAccount: vm, labels: {app: vm}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow-web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  action: ALLOW
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/db]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nonsense, namespace: shop}
spec: {action: 5, rules: nothing}
---
apiVersion: v1
kind: Service
metadata: {name: broken, namespace: shop}
spec: {clusterIP: 10.1.0.99, ports: [{port: 99999999}]}
"#;

#[tokio::test]
async fn files_and_a_cluster_of_the_same_objects_publish_the_same() {
    let files = Files::new();
    let yaml = [
        MESH,
        STRICT,
        &pod("web", "10.0.0.1", "node-a"),
        &pod("db", "10.0.0.2", "node-b"),
        &service("web", "10.1.0.1"),
    ]
    .concat();
    files.replace("objects/mesh.yaml", &yaml);
    let api = Api::start().await;
    api.apply(&yaml);

    let (_directory, of_files) = Directory::open(&files.path("objects")).expect("a directory");
    let mut source = source(&api, &files).await;
    let of_cluster = soon(source.next()).await;

    let problems = |reports: &[ambit_controller::watch::Report]| {
        let lines = reports.iter().map(|r| format!("{}: {}", r.subject, r.problem));
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        lines
    };
    assert_eq!(problems(&of_files.reports), problems(&of_cluster.reports));
    assert_eq!(of_cluster.reports.len(), 2, "{:?}", of_cluster.reports);

    let (mut a, mut b) = (Index::new(Settings::default()), Index::new(Settings::default()));
    assert!(a.apply(of_files.changes) && b.apply(of_cluster.changes));
    for kind in Kind::ALL {
        assert!(a.count(kind) > 0, "{kind:?}");
        assert_eq!(a.count(kind), b.count(kind), "{kind:?}");
    }
    assert!(a.snapshot().addresses.len() > 6 && a.snapshot().authorizations.len() > 2);
    assert!(a.snapshot().at("shop/waypoint", ResourceType::Route).len() > 2);
    assert_eq!(a.snapshot(), b.snapshot());
}
