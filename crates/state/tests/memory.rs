//! What a large mesh costs in memory. The only test of its binary, because it looks at the whole process.

use ambit_model::{
    HealthStatus, Locality, NamespacedHostname, NetworkAddress, PortMap, Service, TunnelProtocol,
    Workload, WorkloadType,
};
use ambit_state::{Config, Kind, Store, Update};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const WORKLOADS: usize = 100_000;
const NODES: usize = 2_000;
const BUDGET_MB: usize = 40;

/// Resident memory in bytes.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

fn service(app: usize) -> Service {
    let (namespace, name) = (format!("namespace-{}", app % 100), format!("service-{app}"));
    let [_, b, c, d] = (app as u32).to_be_bytes();
    Service {
        hostname: format!("{name}.{namespace}.svc.cluster.local").into(),
        name: name.into(),
        namespace: namespace.into(),
        vips: vec![NetworkAddress::new("", [172, b, c, d].into())],
        ports: PortMap::from([(80, 8080), (443, 8443)]),
        canonical: true,
        ..Service::default()
    }
}

fn workload(i: usize, replicas: usize) -> Workload {
    let app = i / replicas;
    let service = service(app);
    let name = format!("{}-7d9fc8b6d5-{i:05x}", service.name);
    // Addresses come in another order than names.
    let [_, b, c, d] = ((i * 7_919 % WORKLOADS) as u32).to_be_bytes();
    let zone = i % NODES % 3;
    Workload {
        uid: format!("Kubernetes//Pod/{}/{name}", service.namespace).into(),
        name: name.into(),
        namespace: service.namespace.clone(),
        service_account: service.name.clone(),
        workload_ips: vec![[10, b, c, d].into()],
        protocol: TunnelProtocol::Hbone,
        workload_name: service.name.clone(),
        workload_type: WorkloadType::Pod,
        canonical_name: service.name.clone(),
        canonical_revision: "v1".into(),
        node: format!("node-{}.region-1.compute.internal", i % NODES).into(),
        authorization_policies: vec!["istio-system/istio_converted_static_strict".into()],
        status: HealthStatus::Healthy,
        locality: Locality {
            region: "region-1".into(),
            zone: format!("region-1{zone}").into(),
            subzone: "".into(),
        },
        services: [(NamespacedHostname::new(service.namespace, service.hostname), service.ports)]
            .into(),
        ..Workload::default()
    }
}

/// What the state of `WORKLOADS` pods in deployments of `replicas`, each behind a service, adds to the process.
fn cost(replicas: usize) -> Option<(Store, usize)> {
    let mut store = Store::new(Config { node: "node-1.region-1.compute.internal".into() });
    let before = resident()?;
    // As a stream of many pushes, with a reader that holds on to the last snapshot but one.
    let mut held = store.snapshot();
    for first in (0..WORKLOADS).step_by(500) {
        let batch = first..first + 500;
        store.apply(batch.flat_map(|i| {
            let service =
                (i % replicas == 0).then(|| Update::Service(service(i / replicas).into()));
            service.into_iter().chain([Update::Workload(workload(i, replicas).into())])
        }));
        held = store.snapshot();
    }
    drop(held);
    store.apply([Update::Synced(Kind::Addresses), Update::Synced(Kind::Authorizations)]);
    let after = resident()?;
    Some((store, after.checked_sub(before)?))
}

/// Measured on x86-64 with jemalloc: 34 MB, of which 16 MB are the workloads themselves, 6 MB their indexes, and the
/// rest the 10,000 services and what replicas share. With three replicas each, and so 33,000 services, it is 67 MB.
#[test]
fn a_hundred_thousand_workloads_fit() {
    let (store, bytes) = cost(10).unwrap();
    let snapshot = store.snapshot();
    assert_eq!(snapshot.workload_count(), WORKLOADS);
    assert_eq!(snapshot.service_count(), WORKLOADS / 10);
    assert_eq!(snapshot.local_workloads().count(), WORKLOADS / NODES);
    let mb = bytes / 1_000_000;
    println!("{WORKLOADS} workloads: {mb} MB, {} bytes each", bytes / WORKLOADS);
    assert!(mb <= BUDGET_MB, "{mb} MB");
}
