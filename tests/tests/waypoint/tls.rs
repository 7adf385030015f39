//! TLS between the waypoint and its endpoints: only the one that is asked for is spoken to.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use ambit_sandbox::FABRIC_V4;
use ambit_tests::{Running, eventually, missing, start_in};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

use super::edge::{self, Edge, OUTSIDE};
use super::endpoint::{Endpoint, status};
use super::http1;
use super::scene::{Scene, Service};

/// The name in the server's certificate, and the URI.
const NAME: &str = "pay.example";
const URI: &str = "spiffe://elsewhere.example/pay";

/// An authority outside the mesh.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for `common` and these names, and its key.
    fn issue(&self, common: &str, names: Vec<SanType>) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common);
        params.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// The command of an nginx that speaks TLS alone, and answers with the name that it was asked for and who asked.
fn nginx(authority: &Authority, port: u16, dir: &Path) -> [String; 5] {
    let names =
        vec![SanType::DnsName(NAME.try_into().unwrap()), SanType::URI(URI.try_into().unwrap())];
    let (chain, key) = authority.issue("pay", names);
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    for (name, text) in [("chain", &chain), ("key", &key), ("ca", &authority.pem)] {
        fs::write(path(name), text).unwrap();
    }
    let config = format!(
        "daemon off; user root; worker_processes 1; pid {0}/pid;
        events {{}}
        http {{
            access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;
            uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
            server {{
                listen {port} ssl; ssl_certificate {0}/chain; ssl_certificate_key {0}/key;
                ssl_verify_client optional; ssl_client_certificate {0}/ca;
                return 200 \"$ssl_server_name $ssl_client_s_dn\";
            }}
        }}",
        dir.display()
    );
    fs::write(path("conf"), config).unwrap();
    let nginx = ambit_tests::find("nginx").unwrap().to_str().unwrap().to_owned();
    [nginx, "-e".to_owned(), path("errors"), "-c".to_owned(), path("conf")]
}

/// It, in a pod.
async fn server(scene: &Scene, authority: &Authority, port: u16, dir: &Path) -> Running {
    let command = nginx(authority, port, dir);
    scene.serve("far", port, &command.each_ref().map(String::as_str)).await
}

fn policy(service: &str, validation: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\n\
         metadata: {{name: {service}, namespace: shop}}\n\
         spec: {{targetRefs: [{{group: '', kind: Service, name: {service}}}], validation: {{{validation}}}}}\n"
    )
}

fn map(name: &str, pem: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: shop}}\ndata: {{ca.crt: {pem:?}}}\n"
    )
}

/// Waits until a request for the service is answered so.
async fn answered(scene: &Scene, service: &str, code: u16, text: &str) {
    eventually(|| async {
        let mut stream = scene.connect(service).await.map_err(|e| e.to_string())?;
        let answer = http1::ask(&mut stream, "/").await.map_err(|e| e.to_string())?;
        match (answer.status, answer.text()) {
            (status, body) if status == code && body.contains(text) => Ok(()),
            other => Err(format!("{service}: {other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_has_to_be_whom_the_policy_names() {
    if missing(&["nginx"]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let (port, dir) = (scene.port(), tempfile::tempdir().unwrap());
    let (authority, other) = (Authority::new("right"), Authority::new("wrong"));
    let _server = server(&scene, &authority, port, dir.path()).await;
    scene.offer(Service::http("pay", port).on(&["far"])).await;
    // nginx tells those that speak no TLS that they should.
    answered(&scene, "pay", 400, "plain HTTP request").await;
    scene.apply(&(map("right", &authority.pem) + &map("wrong", &other.pem))).await;
    let by = |map: &str, more: &str| {
        format!(
            "caCertificateRefs: [{{group: '', kind: ConfigMap, name: {map}}}], hostname: {more}"
        )
    };
    let uri = |uri: &str| format!("other.example, subjectAltNames: [{{type: URI, uri: '{uri}'}}]");
    // What is refused is between what is not, so that it is known to have come into force.
    for (validation, code, text) in [
        (by("right", NAME), 200, NAME),
        (by("wrong", NAME), 503, ""),
        (by("right", &uri(URI)), 200, "other.example"),
        (by("right", "other.example"), 503, ""),
        (by("right", NAME), 200, NAME),
        (by("right", &uri("spiffe://elsewhere.example/other")), 503, ""),
        (by("right", NAME), 200, NAME),
        (by("absent", NAME), 503, ""),
        (by("right", NAME), 200, NAME),
        (format!("wellKnownCACertificates: System, hostname: {NAME}"), 503, ""),
    ] {
        scene.apply(&policy("pay", &validation)).await;
        answered(&scene, "pay", code, text).await;
    }
}

#[tokio::test]
async fn a_destination_rule_shows_the_certificate_of_a_secret() {
    if missing(&["nginx"]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let (port, dir) = (scene.port(), tempfile::tempdir().unwrap());
    let authority = Authority::new("mutual");
    let _server = server(&scene, &authority, port, dir.path()).await;
    scene.offer(Service::http("safe", port).on(&["far"])).await;
    let (chain, key) = authority.issue("till-7", Vec::new());
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: till, namespace: shop}}\n\
         stringData: {{cert: {chain:?}, key: {key:?}}}\n\
         ---\napiVersion: v1\nkind: Secret\nmetadata: {{name: till-cacert, namespace: shop}}\n\
         stringData: {{cacert: {:?}}}\n",
        authority.pem
    );
    let rule = |tls: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
             metadata: {{name: safe, namespace: shop}}\n\
             spec: {{host: safe, trafficPolicy: {{tls: {{{tls}}}}}}}\n"
        )
    };
    let mutual = format!("mode: MUTUAL, credentialName: till, sni: {NAME}");
    scene.apply(&rule(&mutual)).await;
    answered(&scene, "safe", 503, "").await;
    scene.apply(&secret).await;
    answered(&scene, "safe", 200, "pay.example CN=till-7").await;
    for (tls, code, text) in [
        (format!("{mutual}, subjectAltNames: [no.example]"), 503, ""),
        (format!("{mutual}, subjectAltNames: ['{URI}']"), 200, "till-7"),
        ("mode: SIMPLE, credentialName: till".to_owned(), 503, ""),
        (format!("mode: SIMPLE, credentialName: till, sni: {NAME}"), 200, NAME),
        ("mode: SIMPLE, caCertificates: /etc/ca.pem".to_owned(), 503, ""),
        ("mode: SIMPLE, insecureSkipVerify: true".to_owned(), 200, "safe.shop.svc"),
    ] {
        scene.apply(&rule(&tls)).await;
        answered(&scene, "safe", code, text).await;
    }
}

#[tokio::test]
async fn what_is_outside_the_mesh_is_asked_over_tls_that_the_waypoint_opens() {
    if missing(&["nginx"]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    let (port, dir) = (scene.port(), tempfile::tempdir().unwrap());
    let authority = Authority::new("outside");
    let command = nginx(&authority, port, dir.path());
    let _server = start_in(scene.sandbox.fabric(), &command.each_ref().map(String::as_str));
    let address = SocketAddr::from(([198, 51, 100, 9], 80));
    scene
        .apply(&format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{name: outside, namespace: shop}}\n\
             spec:\n  hosts: [{NAME}]\n  addresses: [{}]\n  location: MESH_EXTERNAL\n  resolution: STATIC\n  \
             ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}]\n  \
             endpoints: [{{address: {FABRIC_V4}}}]\n\
             ---\napiVersion: v1\nkind: Secret\nmetadata: {{name: outside-cacert, namespace: shop}}\n\
             stringData: {{cacert: {:?}}}\n",
            address.ip(),
            authority.pem
        ))
        .await;
    let answers = async |code: u16, text: &str| {
        eventually(|| async {
            let mut stream = scene.dial("client", address).await.map_err(|e| e.to_string())?;
            let request = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
            let answer = http1::send(&mut stream, request).await.map_err(|e| e.to_string())?;
            match (answer.status, answer.text()) {
                (status, body) if status == code && body.contains(text) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    };
    answers(400, "plain HTTP request").await;
    let rule = |more: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
             metadata: {{name: outside, namespace: shop}}\n\
             spec: {{host: {NAME}, trafficPolicy: {{tls: {{mode: SIMPLE, credentialName: outside{more}}}}}}}\n"
        )
    };
    scene.apply(&rule("")).await;
    answers(200, NAME).await;
    scene.apply(&rule(", subjectAltNames: [other.example]")).await;
    answers(503, "").await;
}

#[tokio::test]
async fn a_listener_shows_the_certificate_that_its_secret_has_now() {
    if missing(&["openssl", "curl"]).is_some() {
        return;
    }
    let scene = Scene::start().await;
    let endpoint = Endpoint::start(&scene, "far", |_| status(200));
    scene.offer(Service::http("behind", endpoint.port).on(&["far"])).await;
    let front = Edge::before(&scene, "behind").await;
    let shown = async || {
        let show = format!(
            "openssl s_client -connect {}:443 -servername {} </dev/null 2>/dev/null | openssl x509",
            front.ip,
            edge::NAME
        );
        scene.run(OUTSIDE, &["sh", "-c", &show]).await
    };
    let mut last = shown().await;
    for _ in 0..3 {
        Edge::certify(&scene).await;
        last = eventually(async || match shown().await {
            new if new != last && !new.is_empty() => Ok(new),
            _ => Err("it shows the old one".to_owned()),
        })
        .await;
        let resolve = format!("{}:443:{}", edge::NAME, front.ip);
        let url = format!("https://{}/", edge::NAME);
        let curl =
            ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--resolve", &resolve, &url];
        assert_eq!(scene.run(OUTSIDE, &curl).await, "200");
    }
}
