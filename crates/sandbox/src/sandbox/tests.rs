//! Whole sandboxes without a mesh: real programs in pods.

use std::fs;
use std::path::Path;

use super::*;
use crate::supported;

const LIMIT: Duration = Duration::from_secs(20);

/// A web server of Perl, which every Debian has: answers with its pod's name and the client's address.
const SERVER: &str = r#"
use IO::Socket::IP;
$SIG{TERM} = sub { exit 0 };
my $s = IO::Socket::IP->new(LocalAddr => "::", LocalPort => $ENV{PORT} || 80, Listen => 50, V6Only => 0, ReuseAddr => 1) or die $@;
while (my $c = $s->accept) {
  my $line = <$c>;
  my $body = "$ENV{HOSTNAME} " . $c->peerhost . "\n";
  my $status = ($line =~ m{/unready} && -e "/tmp/never") ? 503 : 200;
  print $c "HTTP/1.0 $status OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
  close $c;
}
"#;

/// Whether this machine can run the test; says why not, and fails instead where `CI=true`.
fn able() -> bool {
    match supported() {
        Ok(()) => true,
        Err(error) if std::env::var_os("CI").is_some() => panic!("{}", error.line()),
        Err(error) => {
            eprintln!("skipped: {}", error.line());
            false
        }
    }
}

fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

fn server_map() -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: server, namespace: shop}}\ndata:\n  http.pl: |\n{}",
        indent(SERVER, 4)
    )
}

fn server_spec(more: &str) -> String {
    format!(
        "{{containers: [{{name: web, command: [perl, /srv/made/for/test/http.pl], \
         volumeMounts: [{{name: code, mountPath: /srv/made/for/test}}], {more}}}], \
         volumes: [{{name: code, configMap: {{name: server}}}}]}}"
    )
}

fn pod(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\nspec: {spec}\n"
    )
}

fn sleeper(name: &str, more: &str) -> String {
    pod(name, &format!("{{containers: [{{name: c, command: [sleep, infinity]}}]{more}}}"))
}

fn service(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
    )
}

async fn start(yaml: &str) -> Sandbox {
    let sandbox = Sandbox::start(Options::new(Source::Text(yaml.to_owned()))).await.unwrap();
    sandbox.ready(LIMIT).await.unwrap();
    sandbox
}

async fn output(sandbox: &Sandbox, pod: &str, argv: &[&str]) -> String {
    let output = sandbox.exec(pod, argv).await.unwrap();
    assert_eq!(output.code, 0, "{pod}: {argv:?}: {output:?}");
    output.stdout
}

async fn get(sandbox: &Sandbox, pod: &str, url: &str) -> String {
    output(sandbox, pod, &["curl", "-sSf", "--max-time", "5", url]).await
}

async fn heard(events: &mut broadcast::Receiver<Event>, wanted: impl Fn(&Event) -> bool) -> Event {
    let find = async {
        loop {
            let event = events.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    timeout(LIMIT, find).await.expect("the event comes")
}

#[tokio::test]
async fn services_are_reached_by_name_and_address() {
    if !able() {
        return;
    }
    let port = "selector: {app: web}, ports: [{port: 8000, targetPort: 80}]";
    let yaml = [
        server_map(),
        pod("web", &server_spec("readinessProbe: {httpGet: {path: /, port: 80}}")),
        sleeper("a", ", nodeName: node-1"),
        sleeper("b", ", nodeName: node-2"),
        service("web", &format!("{{{port}, ipFamilyPolicy: PreferDualStack}}")),
        service("flat", "{selector: {app: web}, ports: [{port: 80}], clusterIP: None}"),
        service("out", "{type: ExternalName, externalName: web.shop.svc.cluster.local}"),
        service("empty", "{selector: {app: none}, ports: [{port: 80}]}"),
    ];
    let sandbox = start(&yaml.concat()).await;
    let vips = sandbox.service("shop", "web").unwrap();
    assert_eq!(vips.len(), 2);
    for client in ["a", "b"] {
        let own = sandbox.pod(client).unwrap();
        for url in [
            "http://web:8000/".to_owned(),
            "http://web.shop.svc.cluster.local:8000/".to_owned(),
            format!("http://{}:8000/", vips[0]),
            "http://flat/".to_owned(),
            "http://out:8000/".to_owned(),
        ] {
            let answer = get(&sandbox, client, &url).await;
            let (name, peer) = answer.trim().split_once(' ').unwrap();
            let peer: IpAddr = peer.trim_start_matches("::ffff:").parse().unwrap();
            assert_eq!(name, "web", "{url}");
            assert!(own.ips().contains(&peer), "{url}: {peer}");
        }
        let answer = get(&sandbox, client, &format!("http://[{}]:8000/", vips[1])).await;
        assert!(answer.contains(&own.ips()[1].to_string()), "{answer}");
        let refused = sandbox.exec(client, &["curl", "-s", "http://empty/"]).await.unwrap();
        assert_eq!(refused.code, 7, "refused at once");
        let v6 = format!("http://[{}]:81/", vips[1]);
        let refused =
            sandbox.exec(client, &["curl", "-s", "-w", "%{time_total}", &v6]).await.unwrap();
        assert_eq!(refused.code, 7);
        assert!(refused.stdout.starts_with("0."), "refused at once, over IPv6 too: {refused:?}");
        let unknown = sandbox.exec(client, &["curl", "-s", "http://nowhere/"]).await.unwrap();
        assert_eq!(unknown.code, 6, "no such name");
    }
    for vip in &vips {
        let vip = if vip.is_ipv6() { format!("[{vip}]") } else { vip.to_string() };
        get(&sandbox, "web", &format!("http://{vip}:8000/")).await;
    }
    assert_eq!(output(&sandbox, "a", &["hostname"]).await, "a\n");
    assert!(output(&sandbox, "a", &["cat", "/etc/hosts"]).await.contains(" a\n"));
    assert!(!Path::new("/srv/made").exists(), "no mount point was made on the machine");
    sandbox.stop(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn edits_take_effect_while_it_runs() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    fs::write(file("one.yaml"), sleeper("one", "")).unwrap();
    let sandbox =
        Sandbox::start(Options::new(Source::Directory(dir.path().to_owned()))).await.unwrap();
    sandbox.ready(LIMIT).await.unwrap();
    let before = sandbox.pod("one").unwrap();
    let mut events = sandbox.events();

    fs::write(file("two.yaml"), sleeper("two", "")).unwrap();
    heard(&mut events, |event| event.to_string() == "Pod shop/two applied").await;
    sandbox.wait_for("two", LIMIT, PodHandle::is_ready).await.unwrap();

    fs::write(file("two.yaml"), "kind: [").unwrap();
    heard(
        &mut events,
        |event| matches!(event, Event::Refused { origin, .. } if origin.starts_with("two.yaml")),
    )
    .await;
    assert!(sandbox.pod("two").unwrap().is_ready(), "a slip leaves the pod as it was");

    fs::remove_file(file("two.yaml")).unwrap();
    heard(&mut events, |event| matches!(event, Event::PodRemoved { pod } if pod.name == "two"))
        .await;
    assert!(sandbox.pod("two").is_err());

    let edited = sleeper("one", "").replace("infinity", "'1000'");
    fs::write(file(".one"), &edited).unwrap();
    fs::rename(file(".one"), file("one.yaml")).unwrap();
    let uid = before.uid().to_owned();
    sandbox.wait_for("one", LIMIT, |pod| pod.is_ready() && pod.uid() != uid).await.unwrap();

    let labelled = edited.replace("app: one", "app: one, more: yes");
    fs::write(file("one.yaml"), &labelled).unwrap();
    heard(&mut events, |event| matches!(event, Event::Refused { .. } | Event::Changed { .. }))
        .await;
    assert!(sandbox.pod("one").unwrap().is_ready());
    drop(sandbox);
}

#[tokio::test]
async fn containers_are_restarted_and_end() {
    if !able() {
        return;
    }
    let yaml = [
        pod(
            "loop",
            "{containers: [{name: c, command: [sh, -c, 'echo last words; sleep 0.2; exit 3']}]}",
        ),
        pod("once", "{restartPolicy: Never, containers: [{name: c, command: ['true']}]}"),
        pod("lost", "{containers: [{name: c, command: [no-such-program]}]}"),
    ];
    let sandbox = Sandbox::start(Options::new(Source::Text(yaml.concat()))).await.unwrap();
    let mut events = sandbox.events();
    let restarted = heard(
        &mut events,
        |event| matches!(event, Event::PodRestarted { pod, .. } if pod.name == "loop"),
    );
    let text = restarted.await.to_string();
    assert!(text.contains("ended with code 3: last words"), "{text}");
    let lost = heard(
        &mut events,
        |event| matches!(event, Event::PodRestarted { pod, .. } if pod.name == "lost"),
    );
    assert!(lost.await.to_string().contains("there is no program \"no-such-program\""));
    let late = sandbox.ready(Duration::from_millis(100)).await.unwrap_err().to_string();
    assert!(late.contains("shop/loop is not ready") && !late.contains("shop/once"), "{late}");
    sandbox.stop(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn probes_decide_who_takes_traffic() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let volume = format!("volumes: [{{name: v, hostPath: {{path: {}}}}}]", dir.path().display());
    let probed = |name: &str, probe: &str| {
        pod(
            name,
            &format!(
                "{{{volume}, terminationGracePeriodSeconds: 1, containers: [{{name: c, command: [sleep, infinity], \
             volumeMounts: [{{name: v, mountPath: /mnt}}], {probe}}}]}}"
            ),
        )
    };
    let yaml = [
        probed(
            "ready",
            "readinessProbe: {exec: {command: [test, -e, /mnt/ready]}, periodSeconds: 1, failureThreshold: 1}",
        ),
        probed(
            "alive",
            "livenessProbe: {exec: {command: [test, -e, /mnt/alive]}, periodSeconds: 1, failureThreshold: 1}",
        ),
        probed("tcp", "readinessProbe: {tcpSocket: {port: 7}}"),
    ];
    fs::write(dir.path().join("alive"), "").unwrap();
    let sandbox = Sandbox::start(Options::new(Source::Text(yaml.concat()))).await.unwrap();
    sandbox.wait_for("alive", LIMIT, PodHandle::is_ready).await.unwrap();
    assert!(!sandbox.pod("ready").unwrap().is_ready() && !sandbox.pod("tcp").unwrap().is_ready());
    fs::write(dir.path().join("ready"), "").unwrap();
    sandbox.wait_for("ready", LIMIT, PodHandle::is_ready).await.unwrap();
    fs::remove_file(dir.path().join("ready")).unwrap();
    sandbox.wait_for("ready", LIMIT, |pod| !pod.is_ready()).await.unwrap();
    fs::remove_file(dir.path().join("alive")).unwrap();
    sandbox.wait_for("alive", LIMIT, |pod| pod.restarts() > 0).await.unwrap();
    let room = sandbox.pod("tcp").unwrap();
    let _listener = room.room().run(|| std::net::TcpListener::bind("0.0.0.0:7").unwrap()).unwrap();
    sandbox.wait_for("tcp", LIMIT, PodHandle::is_ready).await.unwrap();
    sandbox.stop(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn pods_end_gracefully_and_in_time() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let farewell = dir.path().join("farewell");
    let polite = format!("trap 'echo bye > {}; exit 0' TERM", farewell.display());
    // Ready is who has set its trap.
    let shell = |name: &str, trap: &str, grace: u8| {
        let trapped = dir.path().join(name);
        let trapped = trapped.display();
        let script = format!("{trap}; touch {trapped}; while :; do sleep 0.05; done");
        let script = script.replace('\'', "''");
        let probe = format!("readinessProbe: {{exec: {{command: [test, -e, {trapped}]}}}}");
        pod(
            name,
            &format!(
                "{{terminationGracePeriodSeconds: {grace}, containers: [{{name: c, command: [sh, -c, '{script}'], {probe}}}]}}"
            ),
        )
    };
    let sandbox =
        start(&[shell("polite", &polite, 30), shell("deaf", "trap '' TERM", 1)].concat()).await;
    let mut events = sandbox.events();
    for name in ["polite", "deaf"] {
        sandbox.delete("Pod", "shop", name).await.unwrap();
    }
    for _ in 0..2 {
        heard(&mut events, |event| matches!(event, Event::PodRemoved { .. })).await;
    }
    assert_eq!(fs::read_to_string(farewell).unwrap(), "bye\n");
    assert!(sandbox.delete("Pod", "shop", "deaf").await.is_err());
    sandbox.stop(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn deployments_scale_and_roll() {
    if !able() {
        return;
    }
    let deployment = |replicas: u8, variable: &str| {
        let spec = server_spec(&format!(
            "env: [{{name: V, value: {variable}}}], readinessProbe: {{tcpSocket: {{port: 80}}}}"
        ));
        format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
             replicas: {replicas}\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    \
             metadata: {{labels: {{app: web}}}}\n    spec: {spec}\n"
        )
    };
    let service = service("web", "{selector: {app: web}, ports: [{port: 80}]}");
    let sandbox =
        start(&[server_map(), deployment(2, "one"), sleeper("c", ""), service].concat()).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let answer = get(&sandbox, "c", "http://web/").await;
        seen.insert(answer.split(' ').next().unwrap_or_default().to_owned());
    }
    assert_eq!(seen.len(), 2, "both replicas answer: {seen:?}");
    sandbox.apply(&deployment(3, "two")).await.unwrap();
    let rolled = async {
        loop {
            // Not one request fails while pods are replaced.
            get(&sandbox, "c", "http://web/").await;
            let pods = sandbox.pods();
            if pods.iter().all(|pod| !seen.contains(&pod.key().name)) {
                return pods.len();
            }
        }
    };
    assert_eq!(timeout(LIMIT, rolled).await.unwrap(), 4);
    assert!(sandbox.pod("web").unwrap().is_ready());
    sandbox.stop(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn volumes_are_the_pods_own() {
    if !able() {
        return;
    }
    let marker = "/opt/ambit-test-mount";
    let yaml = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: key, namespace: shop}}\nstringData: {{a: hush, b: x}}\n{}",
        pod(
            "two",
            &format!(
                "{{volumes: [{{name: shared, emptyDir: {{}}}}, {{name: key, secret: {{secretName: key, items: [{{key: a, path: d/a}}]}}}}], \
             containers: [{{name: one, command: [sh, -c, 'cat {marker}/key/d/a > {marker}/shared/b; touch {marker}/own; sleep infinity'], \
             volumeMounts: [{{name: shared, mountPath: {marker}/shared}}, {{name: key, mountPath: {marker}/key, readOnly: true}}]}}, \
             {{name: two, command: [sleep, infinity], volumeMounts: [{{name: shared, mountPath: /mnt}}]}}]}}"
            )
        )
    );
    let sandbox = start(&yaml).await;
    let read = async {
        while output(&sandbox, "two", &["sh", "-c", &format!("cat {marker}/shared/b || true")])
            .await
            != "hush"
        {}
    };
    timeout(LIMIT, read).await.unwrap();
    let write =
        sandbox.exec("two", &["sh", "-c", &format!("echo > {marker}/key/d/a")]).await.unwrap();
    assert_ne!(write.code, 0, "read-only");
    assert!(!Path::new(marker).exists(), "nothing is made on the machine");
    let dir = sandbox.instance().dir().to_owned();
    sandbox.stop(Duration::from_secs(1)).await.unwrap();
    assert!(!dir.exists());
}

#[tokio::test]
async fn users_and_bad_objects() {
    if !able() {
        return;
    }
    let user = "{securityContext: {runAsUser: 65534}, containers: [{name: c, command: [sleep, infinity]}]}";
    let sandbox = start(&pod("nobody", user)).await;
    assert_eq!(output(&sandbox, "nobody", &["id", "-u"]).await, "65534\n");
    let error = sandbox.apply(&pod("bad", "{containers: []}")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "applied:2: Pod shop/bad: spec.containers: at least one is needed"
    );
    let mut events = sandbox.events();
    sandbox.apply(&sleeper("far", ", nodeName: moon")).await.unwrap();
    let event =
        heard(&mut events, |event| matches!(event, Event::Refused { .. })).await.to_string();
    assert_eq!(
        event,
        "refused Pod shop/far: spec.nodeName, spec.nodeSelector: no node fits; there are node-1, node-2"
    );
    sandbox.apply(&pod("waits", "{containers: [{name: c, command: [sleep, infinity], envFrom: [{configMapRef: {name: later}}]}]}")).await.unwrap();
    let event =
        heard(&mut events, |event| matches!(event, Event::PodProblem { .. })).await.to_string();
    assert!(event.ends_with("envFrom: there is no ConfigMap \"later\""), "{event}");
    sandbox
        .apply(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: later, namespace: shop}\ndata: {}",
        )
        .await
        .unwrap();
    sandbox.wait_for("waits", LIMIT, PodHandle::is_ready).await.unwrap();
    assert!(
        sandbox
            .exec("nobody", &["no-such-program"])
            .await
            .unwrap_err()
            .line()
            .contains("install it")
    );
    assert!(sandbox.exec("nowhere", &["true"]).await.is_err());
    sandbox.stop(Duration::from_secs(1)).await.unwrap();
}
