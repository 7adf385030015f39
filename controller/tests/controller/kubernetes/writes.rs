//! What the controller keeps in the cluster: its authority, the copies of its roots, its lease.

use ambit_identity::{CertificateSource as _, LocalCa};
use ambit_model::Identity;
use k8s_openapi::ByteString;
use serde_json::json;

use super::{CONFIG_MAPS, NAMESPACES, SECRETS, controller, roots, system_pod};
use crate::api::Api;
use crate::harness::{eventually, pod};

async fn mesh() -> Api {
    let api = Api::start().await;
    api.apply(&[NAMESPACES, &pod("web", "10.0.0.1", "node-a")].concat());
    system_pod(&api, "zt-a", "ztunnel", "node-a");
    api
}

#[tokio::test]
async fn replicas_share_one_authority_and_one_of_them_writes() {
    let api = mesh().await;
    let (one, two) = tokio::join!(controller(&api, "one"), controller(&api, "two"));
    let web = Identity::new("cluster.local", "shop", "web");
    let mut signed = Vec::new();
    for replica in [&one, &two] {
        let client = replica.certificates("token-of-zt-a");
        eventually(|| async { client.fetch(&web).await.is_ok() }).await;
        signed.push(client.fetch(&web).await.expect("a certificate").roots);
    }
    assert_eq!(signed[0], signed[1]);
    let leads = async |replica: &crate::harness::Running| {
        replica.metric("ambit_controller_is_leader").await
    };
    assert_eq!(leads(&one).await + leads(&two).await, 1.0);
    let holder = || {
        let lease =
            api.get("apis/coordination.k8s.io/v1/leases", "istio-system", "ambit-controller");
        lease.expect("a lease")["spec"]["holderIdentity"].clone()
    };
    let (first, second, name) =
        if leads(&one).await > 0.0 { (one, two, "one") } else { (two, one, "two") };
    assert_eq!(holder(), name);

    // Who ends gives way at once.
    first.stop().await;
    assert_eq!(holder(), serde_json::Value::Null);
    eventually(|| async { leads(&second).await > 0.0 }).await;
}

#[tokio::test]
async fn the_copies_of_the_roots_are_kept_true() {
    let api = mesh().await;
    let controller = controller(&api, "one").await;
    let good = roots(&api, "istio-system").expect("a copy");
    let is_good = |namespace: &'static str| {
        let (api, good) = (api.clone(), good.clone());
        move || {
            let same = roots(&api, namespace).as_deref() == Some(&good);
            async move { same }
        }
    };
    eventually(is_good("shop")).await;
    api.apply("{apiVersion: v1, kind: Namespace, metadata: {name: new}}");
    eventually(is_good("new")).await;
    api.delete(CONFIG_MAPS, "shop", "istio-ca-root-cert");
    eventually(is_good("shop")).await;
    api.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-ca-root-cert, namespace: new}, data: {root-cert.pem: forged}}");
    eventually(is_good("new")).await;
    assert_eq!(controller.metric("ambit_controller_objects{kind=\"Namespace\"}").await, 3.0);
}

#[tokio::test]
async fn an_authority_that_is_plugged_in_takes_over() {
    let api = mesh().await;
    let controller = controller(&api, "one").await;
    assert_eq!(api.created(SECRETS), 1);
    let web = Identity::new("cluster.local", "shop", "web");
    let client = controller.certificates("token-of-zt-a");
    eventually(|| async { client.fetch(&web).await.is_ok() }).await;
    let old = roots(&api, "shop").expect("a copy");

    // As cert-manager would: the old root is still trusted.
    let dir = tempfile::tempdir().expect("a directory");
    let ca =
        LocalCa::open_or_create(dir.path(), std::time::SystemTime::now()).expect("an authority");
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect("a file");
    let both = format!("{}{old}", ca.roots_pem());
    let data = |text: String| json!(ByteString(text.into_bytes()));
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cacerts", "namespace": "istio-system"},
        "data": {
            "tls.crt": data(read("ca-cert.pem")),
            "tls.key": data(read("ca-key.pem")),
            "ca.crt": data(both.clone()),
        },
    });
    api.apply(&secret.to_string());
    eventually(|| async { roots(&api, "shop") == Some(both.clone()) }).await;
    controller.files.replace("root-cert.pem", &both);
    let client = controller.certificates("token-of-zt-a");
    let credential = client.fetch(&web).await.expect("a certificate");
    assert_eq!(credential.roots, both);

    // A broken one changes nothing.
    let mut broken = secret;
    broken["data"]["tls.key"] = data("nonsense".to_owned());
    api.apply(&broken.to_string());
    eventually(|| async {
        controller.metric("ambit_controller_authority_reload_failures_total").await >= 1.0
    })
    .await;
    assert_eq!(client.fetch(&web).await.expect("a certificate").roots, both);
    assert_eq!(api.created(SECRETS), 1);
}
