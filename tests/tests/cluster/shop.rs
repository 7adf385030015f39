//! A namespace with something in it.

use super::kubectl::{PATIENCE, apply, done, exec, prints};
use ambit_tests::eventually_within;

/// The label that brings a namespace into the mesh.
pub(super) const AMBIENT: &str = "istio.io/dataplane-mode: ambient";

/// A namespace that a test has to itself.
pub(super) struct Shop(pub(super) &'static str);

/// A pod that does nothing and has tools.
pub(super) struct Client<'a> {
    pub(super) name: &'a str,
    pub(super) node: &'a str,
    /// Labels in the form `a: b, c: d`.
    pub(super) labels: &'a str,
}

// === impl Shop ===

impl Shop {
    /// An empty namespace with `labels`.
    pub(super) async fn empty(name: &'static str, labels: &str) -> Self {
        apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"
        ))
        .await;
        done(&format!("wait --for=create -n {name} serviceaccount/default --timeout=60s")).await;
        Self(name)
    }

    /// The usual: `client` and `outsider` on node1, who stays out of the mesh, and the server `web` on node2; all ready.
    pub(super) async fn open(name: &'static str, labels: &str) -> Self {
        let shop = Self::empty(name, labels).await;
        shop.client(Client { name: "client", node: "node1", labels: "" }).await;
        let labels = "istio.io/dataplane-mode: none";
        shop.client(Client { name: "outsider", node: "node1", labels }).await;
        shop.server("web", "node2").await;
        shop.ready().await;
        shop
    }

    /// Makes a client.
    pub(super) async fn client(&self, client: Client<'_>) {
        let Client { name, node, labels } = client;
        apply(&format!(
            "apiVersion: v1\nkind: Pod\n\
             metadata: {{name: {name}, namespace: {}, labels: {{{labels}}}}}\n\
             spec:\n  nodeName: {node}\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
             - {{name: c, image: 'ambit.test/tools:1', imagePullPolicy: IfNotPresent, command: [sleep, infinity]}}\n",
            self.0
        ))
        .await;
    }

    /// Makes a server with probes on port 8080, another on port 9090, and a service with ports 80 and 90 in front.
    pub(super) async fn server(&self, name: &str, node: &str) {
        apply(&format!(
            "apiVersion: v1\nkind: Pod\n\
             metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}\n\
             spec:\n  nodeName: {node}\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: c\n    \
             image: ambit.test/echo:1\n    imagePullPolicy: IfNotPresent\n    \
             args: [serve, --http, '8080', --http, '9090']\n    \
             readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}\n    \
             livenessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1, failureThreshold: 3}}\n\
             {service}",
            namespace = self.0,
            service = self.service(name)
        ))
        .await;
    }

    /// A Deployment of servers, and a service in front.
    pub(super) async fn servers(&self, name: &str, replicas: u32) {
        apply(&format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
             replicas: {replicas}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    \
             metadata: {{labels: {{app: {name}}}}}\n    spec:\n      containers:\n      - name: c\n        \
             image: ambit.test/echo:1\n        imagePullPolicy: IfNotPresent\n        \
             args: [serve, --http, '8080', --tcp, '9090']\n        \
             readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}\n\
             {service}",
            namespace = self.0,
            service = self.service(name)
        ))
        .await;
        done(&format!("rollout status -n {} deployment/{name} --timeout=120s", self.0)).await;
    }

    fn service(&self, name: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {}}}\nspec:\n  \
             selector: {{app: {name}}}\n  ports:\n  - {{name: http, port: 80, targetPort: 8080}}\n  \
             - {{name: other, port: 90, targetPort: 9090}}\n",
            self.0
        )
    }

    /// Waits until every pod is ready.
    pub(super) async fn ready(&self) {
        done(&format!("wait --for=condition=Ready pod --all --timeout=120s -n {}", self.0)).await;
    }

    /// What a pod's request to `server`, a name with or without a port, is answered; `None` if it is not.
    pub(super) async fn ask(&self, pod: &str, server: &str) -> Option<String> {
        let url = format!("http://{server}/");
        exec(self.0, pod, &["curl", "-sS", "-m", "5", &url]).await
    }

    /// Waits until `pod` gets through to `server`, or does not.
    pub(super) async fn expect(&self, pod: &str, server: &str, through: bool) {
        eventually_within(PATIENCE, || async {
            match self.ask(pod, server).await {
                Some(answer) if through && answer.contains("\"protocol\"") => Ok(()),
                None if !through => Ok(()),
                other => Err(format!("{pod} to {server}: {other:?}")),
            }
        })
        .await;
    }

    /// Waits until a pod is captured, or is not.
    pub(super) async fn captured(&self, pod: &str, captured: bool) {
        let path = r"jsonpath={.metadata.annotations.ambient\.istio\.io/redirection}";
        let expected = if captured { "enabled" } else { "" };
        prints(&format!("get pod -n {} {pod} -o {path}", self.0), expected).await;
    }

    /// Labels the namespace.
    pub(super) async fn label(&self, label: &str) {
        done(&format!("label --overwrite namespace {} {label}", self.0)).await;
    }

    /// Makes an object of Istio's security API with this name, kind and spec.
    pub(super) async fn secure(&self, kind: &str, name: &str, spec: &str) {
        apply(&format!(
            "apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {}}}\nspec: {spec}\n",
            self.0
        ))
        .await;
    }

    /// Only with mTLS from now on.
    pub(super) async fn strict(&self) {
        self.secure("PeerAuthentication", "strict", "{mtls: {mode: STRICT}}").await;
    }

    /// How often containers have been restarted, one number for each pod.
    pub(super) async fn restarts(&self) -> String {
        let path = "jsonpath={.items[*].status.containerStatuses[0].restartCount}";
        done(&format!("get pods -n {} -o {path}", self.0)).await
    }

    /// Removes the namespace and everything in it.
    pub(super) async fn close(self) {
        done(&format!("delete namespace {} --wait=false", self.0)).await;
    }
}
