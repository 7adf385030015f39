//! Any order of changes leads to the same state as reading everything at once.

use proptest::prelude::*;

use super::*;

/// Objects that depend on each other in every way there is, each in a few variants.
const OBJECTS: [(&str, &[&str]); 35] = [
    (
        "ns",
        &[
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/use-waypoint: wp}}",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: {networking.istio.io/traffic-distribution: PreferClose}}",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/use-waypoint: wp}, annotations: {ambit.dev/allow-direct: 'true'}}",
        ],
    ),
    (
        "root",
        &[
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system, labels: {topology.istio.io/network: net}}",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}",
        ],
    ),
    (
        "node",
        &[
            "apiVersion: v1\nkind: Node\nmetadata: {name: n, labels: {topology.kubernetes.io/zone: z1}}",
            "apiVersion: v1\nkind: Node\nmetadata: {name: n, labels: {topology.kubernetes.io/zone: z2}}",
        ],
    ),
    (
        "pod-a",
        &[
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop, labels: {app: web}}\nspec: {nodeName: n}\nstatus: {podIP: 10.0.0.1}",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop, labels: {app: db, gateway.networking.k8s.io/gateway-name: wp}}\nspec: {nodeName: m}\nstatus: {podIP: 10.0.0.2}",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\nspec: {nodeName: n}\nstatus: {phase: Failed, podIP: 10.0.0.1}",
        ],
    ),
    (
        "pod-b",
        &[
            "apiVersion: v1\nkind: Pod\nmetadata: {name: b, namespace: shop, labels: {app: web}, creationTimestamp: '2026-01-01T00:00:00Z'}\nspec: {nodeName: n}\nstatus: {podIP: 10.0.0.1}",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: b, namespace: other, labels: {app: web}}\nspec: {nodeName: n}\nstatus: {podIP: 10.0.0.2}",
        ],
    ),
    (
        "svc",
        &[
            "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: 10.1.0.1, selector: {app: web}, ports: [{name: http, port: 80}]}",
            "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: none}}\nspec: {clusterIP: 10.1.0.2, selector: {app: db}, ports: [{name: http, port: 81}]}",
            "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {type: ExternalName}",
        ],
    ),
    (
        "svc-2",
        &[
            "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: other, creationTimestamp: '2026-01-01T00:00:00Z'}\nspec: {clusterIP: 10.1.0.1}",
            "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: other}\nspec: {clusterIP: 10.1.0.2, ports: [{name: tcp, port: 80}]}",
        ],
    ),
    (
        "slice",
        &[
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, namespace: shop, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\nports: [{name: http, port: 1}]\nendpoints: [{addresses: [172.16.0.1], nodeName: n}]",
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, namespace: shop, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\nports: [{name: http, port: 2}]\nendpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod, name: a}}, {addresses: [10.0.0.2], targetRef: {kind: Pod, name: b}}]",
        ],
    ),
    (
        "entry",
        &[
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: shop}\nspec: {hosts: [web.shop.svc.cluster.local, x.example], resolution: DNS, ports: [{number: 80, name: http}]}",
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}\nspec: {hosts: [x.example], resolution: STATIC, workloadSelector: {labels: {app: web}}, ports: [{number: 80, name: http}]}",
        ],
    ),
    (
        "entry-2",
        &[
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: f, namespace: shop, creationTimestamp: '2026-02-01T00:00:00Z'}\nspec: {hosts: [x.example], resolution: STATIC, endpoints: [{address: 10.5.0.1, labels: {app: web}}], ports: [{number: 80, name: http}]}",
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: f, namespace: other}\nspec: {hosts: [x.example], resolution: NONE, ports: [{number: 80, name: http}]}",
        ],
    ),
    (
        "vm",
        &[
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: v, namespace: shop}\nspec: {address: 10.6.0.1, labels: {app: web}}",
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: v, namespace: shop}\nspec: {address: 10.6.0.1, labels: {app: db}}",
        ],
    ),
    (
        "gateway",
        &[
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: wp, namespace: shop, labels: {istio.io/waypoint-for: all}, annotations: {ambient.istio.io/waypoint-inbound-binding: PROXY/15088}}\nspec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}\nstatus: {addresses: [{type: IPAddress, value: 10.1.0.9}]}",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: wp, namespace: shop}\nspec: {gatewayClassName: istio-waypoint}",
        ],
    ),
    (
        "policy",
        &[
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\nspec: {selector: {matchLabels: {app: web}}}",
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: istio-system}\nspec: {selector: {matchLabels: {app: db}}}",
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\nspec: {}",
        ],
    ),
    (
        "at-service",
        &[
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: t, namespace: shop}\nspec: {targetRefs: [{kind: Service, name: web}]}",
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: t, namespace: shop}\nspec: {targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: e}, {kind: Service, name: web}], action: AUDIT}",
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: t, namespace: shop}\nspec: {targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: f}]}",
        ],
    ),
    (
        "at-gateway",
        &[
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: g, namespace: shop}\nspec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: wp}]}",
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: g, namespace: istio-system}\nspec: {targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}]}",
        ],
    ),
    (
        "peer",
        &[
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\nspec: {mtls: {mode: STRICT}}",
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}",
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\nspec: {selector: {matchLabels: {app: web}}, portLevelMtls: {80: {mode: STRICT}}}",
        ],
    ),
    (
        "route",
        &[
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\nspec: {parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: 80}, {name: a, namespace: other, port: 80}]}]}",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\nspec: {parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: e}], rules: [{backendRefs: [{group: networking.istio.io, kind: Hostname, name: x.example, port: 80}]}]}",
        ],
    ),
    (
        "route-2",
        &[
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: s, namespace: other}\nspec: {parentRefs: [{group: '', kind: Service, name: web, namespace: shop, port: 80}], rules: [{backendRefs: [{name: web, port: 80, namespace: shop}]}]}",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: s, namespace: shop}\nspec: {parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{group: networking.istio.io, kind: ServiceEntry, name: f, port: 80}]}]}",
        ],
    ),
    (
        "tcp-route",
        &[
            "apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: r, namespace: shop}\nspec: {parentRefs: [{group: '', kind: Service, name: web, port: 81}], rules: [{backendRefs: [{name: web, port: 80}]}]}",
        ],
    ),
    (
        "virtual",
        &[
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec: {hosts: [web], http: [{match: [{sourceLabels: {app: web}}], route: [{destination: {host: web, subset: one}}]}, {delegate: {name: w}}]}",
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: other}\nspec: {hosts: ['*.example', web.shop.svc.cluster.local], http: [{route: [{destination: {host: a}}]}]}",
        ],
    ),
    (
        "virtual-2",
        &[
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: w, namespace: shop}\nspec: {http: [{route: [{destination: {host: x.example}}]}]}",
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: w, namespace: shop}\nspec: {hosts: ['*'], tcp: [{route: [{destination: {host: web.shop.svc.cluster.local, subset: two}}]}]}",
        ],
    ),
    (
        "rule",
        &[
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d, namespace: shop}\nspec: {host: web, trafficPolicy: {loadBalancer: {simple: RANDOM}, tls: {mode: MUTUAL, credentialName: d}}, subsets: [{name: one, labels: {app: web}}]}",
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d, namespace: shop}\nspec: {host: '*.example', trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}",
        ],
    ),
    (
        "rule-2",
        &[
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: e, namespace: other}\nspec: {host: a, trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: e, namespace: istio-system}\nspec: {host: '*.shop.svc.cluster.local', subsets: [{name: two, labels: {app: db}}]}",
        ],
    ),
    (
        "front",
        &[
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: web, namespace: shop}\nspec: {gatewayClassName: ambit, allowedListeners: {namespaces: {from: Selector, selector: {matchLabels: {istio.io/use-waypoint: wp}}}}, tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca, namespace: other}]}}}, backend: {clientCertificateRef: {name: c, namespace: other}}}, listeners: [{name: a, port: 80, protocol: HTTP, hostname: '*.example', allowedRoutes: {namespaces: {from: All}}}, {name: b, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c, namespace: other}]}}]}",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: web, namespace: shop}\nspec: {gatewayClassName: mine, allowedListeners: {namespaces: {from: All}}, listeners: [{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {istio.io/use-waypoint: wp}}}}}]}",
        ],
    ),
    (
        "listener-set",
        &[
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {name: m, namespace: shop}\nspec: {parentRef: {name: web}, listeners: [{name: a, port: 80, protocol: HTTP, hostname: a.example}, {name: b, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c, namespace: other}]}}]}",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {name: m, namespace: other}\nspec: {parentRef: {name: web, namespace: shop}, listeners: [{name: c, port: 80, protocol: HTTP}]}",
        ],
    ),
    (
        "listener-set-2",
        &[
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {name: n, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}\nspec: {parentRef: {name: web}, listeners: [{name: a, port: 80, protocol: HTTP, hostname: a.example}]}",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {name: n, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}\nspec: {parentRef: {name: web}, listeners: [{name: a, port: 80, protocol: TCP}]}",
        ],
    ),
    (
        "set-route",
        &[
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: u, namespace: shop}\nspec: {parentRefs: [{group: gateway.networking.k8s.io, kind: ListenerSet, name: m}, {name: web}], rules: [{backendRefs: [{name: web, port: 80}]}]}",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: u, namespace: other}\nspec: {parentRefs: [{group: gateway.networking.k8s.io, kind: ListenerSet, name: m}], rules: [{backendRefs: [{name: a, port: 80}]}]}",
        ],
    ),
    (
        "class",
        &[
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: mine}\nspec: {controllerName: ambit.dev/gateway-controller}",
        ],
    ),
    (
        "front-route",
        &[
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: t, namespace: shop}\nspec: {hostnames: [a.example], parentRefs: [{name: web}], rules: [{backendRefs: [{name: web, port: 80}]}]}",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: t, namespace: other}\nspec: {parentRefs: [{name: web, namespace: shop, sectionName: a}], rules: [{backendRefs: [{name: web, namespace: shop, port: 80}]}]}",
        ],
    ),
    (
        "secret",
        &[
            "apiVersion: v1\nkind: Secret\nmetadata: {name: c, namespace: other}\ntype: kubernetes.io/tls\nstringData: {tls.crt: a, tls.key: b}",
        ],
    ),
    (
        "authorities",
        &[
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ca, namespace: shop}\ndata: {ca.crt: nothing}",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ca, namespace: other}\ndata: {ca.crt: none}",
        ],
    ),
    (
        "backend-tls",
        &[
            "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: b, namespace: shop}\nspec: {targetRefs: [{group: '', kind: Service, name: web}], validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}], hostname: a.example}}",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: b, namespace: other}\nspec: {targetRefs: [{group: '', kind: Service, name: a}], validation: {wellKnownCACertificates: System, hostname: a.example}}",
        ],
    ),
    (
        "backend-tls-2",
        &[
            "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: c, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}\nspec: {targetRefs: [{group: '', kind: Service, name: web, sectionName: http}, {group: networking.istio.io, kind: ServiceEntry, name: e}], validation: {wellKnownCACertificates: System, hostname: b.example}}",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: c, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}\nspec: {targetRefs: [{group: '', kind: Service, name: web}], validation: {wellKnownCACertificates: System, hostname: b.example}}",
        ],
    ),
    (
        "credential",
        &[
            "apiVersion: v1\nkind: Secret\nmetadata: {name: d, namespace: shop}\nstringData: {cert: a, key: b}",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: d-cacert, namespace: shop}\nstringData: {ca.crt: a}",
        ],
    ),
    (
        "grant",
        &[
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: other}\nspec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}], to: [{group: '', kind: Secret}]}",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: other}\nspec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], to: [{group: '', kind: Service}]}",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: shop}\nspec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: other}], to: [{group: '', kind: Service, name: web}]}",
        ],
    ),
];

/// The files that `steps` leave behind: which variant of each object, if any.
fn last(steps: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut state = [0; OBJECTS.len()];
    for (object, variant) in steps {
        state[*object] = *variant;
    }
    state.into_iter().enumerate().filter(|(_, variant)| *variant > 0).collect()
}

fn text(object: usize, variant: usize) -> &'static str {
    let variants = OBJECTS[object].1;
    variant.checked_sub(1).map_or("", |v| variants[v % variants.len()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_order_of_changes_gives_the_same_state(
        steps in proptest::collection::vec((0..OBJECTS.len(), 0_usize..4), 1..40),
    ) {
        let mut mesh = Mesh::new("");
        let mut told = BTreeMap::new();
        for (object, variant) in &steps {
            mesh.write(OBJECTS[*object].0, text(*object, *variant));
            for key in mesh.index.touched() {
                told.insert(key.clone(), mesh.index.wanted(key, &[]));
            }
        }
        let mut fresh = Mesh::new("");
        let mut changes = Vec::new();
        for (object, variant) in last(&steps) {
            let name = OBJECTS[object].0;
            changes.extend(fresh.files.read(name.into(), Ok(text(object, variant))));
        }
        fresh.index.apply(changes);
        for kind in ResourceType::ALL {
            prop_assert_eq!(mesh.names(kind), fresh.names(kind));
            for name in mesh.names(kind) {
                prop_assert_eq!(mesh.body(kind, &name), fresh.body(kind, &name), "{}", name);
            }
        }
        for (key, conditions) in told {
            prop_assert_eq!(conditions, fresh.index.wanted(&key, &[]), "{}", key);
        }
        prop_assert_eq!(mesh.problems(), fresh.problems());
        prop_assert_eq!(mesh.index.snapshot(), fresh.index.snapshot());
        for kind in Kind::ALL {
            prop_assert_eq!(mesh.index.count(kind), fresh.index.count(kind));
        }
    }

    /// What subscribers are sent is computed from differences of snapshots.
    #[test]
    fn differences_lead_from_one_state_to_another(
        steps in proptest::collection::vec((0..OBJECTS.len(), 0_usize..4), 1..20), at in any::<prop::sample::Index>(),
    ) {
        let mut mesh = Mesh::new("");
        let mut states = vec![mesh.index.snapshot().clone()];
        for (object, variant) in &steps {
            mesh.write(OBJECTS[*object].0, text(*object, *variant));
            states.push(mesh.index.snapshot().clone());
        }
        let old = at.get(&states);
        let new = mesh.index.snapshot();
        for kind in ResourceType::ALL {
            let mut held: BTreeMap<Str, u64> =
                old.of(kind).iter().map(|r| (r.name.clone(), r.version)).collect();
            let (changed, gone) = new.of(kind).since(old.of(kind));
            for name in gone {
                prop_assert!(held.remove(&name).is_some());
            }
            for resource in changed {
                prop_assert_ne!(held.insert(resource.name.clone(), resource.version), Some(resource.version));
            }
            let expected: BTreeMap<Str, u64> =
                new.of(kind).iter().map(|r| (r.name.clone(), r.version)).collect();
            prop_assert_eq!(held, expected);
        }
    }
}
