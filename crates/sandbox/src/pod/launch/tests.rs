//! Containers as tables.

use super::*;

fn container(yaml: &str) -> Container {
    serde_saphyr::from_str(&format!("name: c\n{yaml}")).unwrap()
}

fn objects() -> Objects {
    let manifest = crate::manifest::read(
        "f",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map, namespace: shop}\ndata: {A: one, B: two}\n\
         ---\napiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: shop}\n\
         data: {C: dGhyZWU=}\nstringData: {D: four}",
    );
    Objects(manifest.documents.into_iter().map(|doc| (doc.key, doc.object)).collect())
}

fn facts() -> PodFacts {
    PodFacts {
        name: "p".to_owned(),
        namespace: "shop".to_owned(),
        hostname: "p".to_owned(),
        node: "n".to_owned(),
        ips: vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()],
        labels: [("app".to_owned(), "web".to_owned())].into(),
        ..PodFacts::default()
    }
}

fn images() -> Images {
    [("nginx".to_owned(), vec!["/usr/sbin/nginx".to_owned(), "-e".to_owned()])].into()
}

fn try_launch(yaml: &str) -> Result<Launch, String> {
    launch(&container(yaml), &PodSpec::default(), &facts(), (&images(), &objects()))
}

#[test]
fn programs_come_from_the_command_or_the_mapping() {
    for (yaml, argv) in [
        ("command: [a, b]", Ok(vec!["a", "b"])),
        ("command: [a]\nargs: [b]\nimage: nginx", Ok(vec!["a", "b"])),
        ("image: nginx\nargs: [-g]", Ok(vec!["/usr/sbin/nginx", "-e", "-g"])),
        ("image: nginx:1.27", Ok(vec!["/usr/sbin/nginx", "-e"])),
        ("image: redis", Err("map the image \"redis\" to one")),
        ("args: [b]", Err("command: is missing")),
        (
            "command: [a, $(X), $$(X), $(Y), $]\nenv: [{name: X, value: x}]",
            Ok(vec!["a", "x", "$(X)", "$(Y)", "$"]),
        ),
    ] {
        match (try_launch(yaml), argv) {
            (Ok(launch), Ok(argv)) => assert_eq!(launch.argv, argv, "{yaml}"),
            (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{problem}"),
            (found, _) => panic!("{yaml}: {found:?}"),
        }
    }
}

#[test]
fn variables_come_from_everywhere() {
    for (source, value) in [
        ("value: plain", Ok("plain")),
        ("value: $(HOSTNAME)-x", Ok("p-x")),
        ("valueFrom: {fieldRef: {fieldPath: status.podIP}}", Ok("10.0.0.1")),
        ("valueFrom: {fieldRef: {fieldPath: status.podIPs}}", Ok("10.0.0.1,fd00::1")),
        ("valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}", Ok("web")),
        (
            "valueFrom: {fieldRef: {fieldPath: spec.secret}}",
            Err("env V: fieldRef \"spec.secret\" is unknown"),
        ),
        ("valueFrom: {configMapKeyRef: {name: map, key: A}}", Ok("one")),
        ("valueFrom: {secretKeyRef: {name: key, key: C}}", Ok("three")),
        ("valueFrom: {secretKeyRef: {name: key, key: D}}", Ok("four")),
        ("valueFrom: {configMapKeyRef: {name: map, key: Z}}", Err("no key \"Z\"")),
        ("valueFrom: {resourceFieldRef: {resource: limits.cpu}}", Err("the sandbox knows")),
    ] {
        let launch = try_launch(&format!("command: [a]\nenv: [{{name: V, {source}}}]"));
        match (launch, value) {
            (Ok(launch), Ok(value)) => assert_eq!(launch.env["V"], value, "{source}"),
            (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{problem}"),
            (found, _) => panic!("{source}: {found:?}"),
        }
    }
    let optional = "{configMapKeyRef: {name: map, key: Z, optional: true}}";
    let launch = try_launch(&format!("command: [a]\nenv: [{{name: V, valueFrom: {optional}}}]"));
    assert!(!launch.unwrap().env.contains_key("V"));
    let launch =
        try_launch("command: [a]\nenvFrom: [{prefix: P_, configMapRef: {name: map}}]").unwrap();
    assert_eq!((&*launch.env["P_A"], &*launch.env["P_B"]), ("one", "two"));
    assert!(launch.env.contains_key("PATH") && !launch.env.contains_key("CARGO"));
    assert!(try_launch("command: [a]\nenvFrom: [{secretRef: {name: none}}]").is_err());
}

#[test]
fn containers_run_as_they_or_their_pod_say() {
    let spec: PodSpec =
        serde_saphyr::from_str("containers: []\nsecurityContext: {runAsUser: 1, runAsGroup: 2}")
            .unwrap();
    let own = container("command: [a]\nsecurityContext: {runAsUser: 7}\nworkingDir: /tmp");
    let launch = launch(&own, &spec, &facts(), (&images(), &objects())).unwrap();
    assert_eq!((launch.user, launch.group, launch.dir), (Some(7), Some(2), Some("/tmp".into())));
}

#[test]
fn resolvers_are_the_clusters_or_the_pods_own() {
    let spec = |yaml: &str| serde_saphyr::from_str(&format!("containers: []\n{yaml}")).unwrap();
    let text = |yaml: &str| resolv_conf(&spec(yaml), "shop", "10.96.0.10");
    assert_eq!(
        text(""),
        "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    );
    let config = "dnsConfig: {nameservers: [1.1.1.1], searches: [x], options: [{name: a, value: b}, {name: c}]}";
    assert_eq!(
        text(&format!("dnsPolicy: None\n{config}")),
        "nameserver 1.1.1.1\nsearch x\noptions a:b c\n"
    );
    assert!(text(config).starts_with("nameserver 10.96.0.10\nnameserver 1.1.1.1\nsearch shop.svc"));
}
