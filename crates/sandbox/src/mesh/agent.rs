//! The agent of a node, by its control socket: one JSON object a line, each answered by one.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

/// How long an agent may take to come up before a pod complains.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How long to wait between attempts to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(10);
/// The longest answer that is read, in bytes.
const ANSWER_LIMIT: u64 = 64 << 10;

/// Asks a node's agent to capture pods and to let go of them.
#[derive(Debug)]
pub(crate) struct Agent {
    socket: PathBuf,
}

/// A pod that is to be captured, as the agent wants to know it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Enrolment {
    uid: String,
    name: String,
    namespace: String,
    service_account: String,
    netns: PathBuf,
    resolv_conf: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_capture: Option<bool>,
    bypass_inbound_capture: bool,
    reroute_interfaces: Vec<String>,
}

/// What the agent answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    Ok(serde::de::IgnoredAny),
    Error(String),
}

// === impl Enrolment ===

impl Enrolment {
    /// A pod by its UID, name, namespace and service account; options come from its annotations (Istio ambient's).
    pub(crate) fn new(
        [uid, name, namespace, service_account]: [&str; 4],
        (netns, resolv_conf): (PathBuf, PathBuf),
        annotations: &BTreeMap<String, String>,
    ) -> Self {
        let flag = |key: &str| annotations.get(key).and_then(|value| value.parse().ok());
        let interfaces = annotations.get("istio.io/reroute-virtual-interfaces");
        let interfaces = interfaces.map(String::as_str).unwrap_or_default().split(',');
        Self {
            uid: uid.to_owned(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            netns,
            resolv_conf,
            dns_capture: flag("ambient.istio.io/dns-capture"),
            bypass_inbound_capture: flag("ambient.istio.io/bypass-inbound-capture") == Some(true),
            reroute_interfaces: interfaces
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }
}

// === impl Agent ===

impl Agent {
    /// The agent with that control socket.
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Has a pod captured, and returns when it is and ztunnel serves it.
    ///
    /// # Errors
    /// It is not yet; the text is for the user.
    pub(crate) async fn add(&self, pod: &Enrolment) -> Result<(), String> {
        self.ask(json!({ "add": pod })).await
    }

    /// Has a pod let go; `alive` if its processes go on without the mesh.
    ///
    /// # Errors
    /// It is not yet; the text is for the user.
    pub(crate) async fn remove(&self, uid: &str, alive: bool) -> Result<(), String> {
        self.ask(json!({ "remove": { "uid": uid, "alive": alive } })).await
    }

    async fn ask(&self, request: serde_json::Value) -> Result<(), String> {
        let mut stream = self.connect().await?;
        let mut line = request.to_string();
        line.push('\n');
        let mut answer = Vec::new();
        let exchange = async {
            stream.write_all(line.as_bytes()).await?;
            let mut reader = BufReader::new(stream).take(ANSWER_LIMIT);
            reader.read_until(b'\n', &mut answer).await
        };
        let failed =
            |error: io::Error| format!("the connection to the node's agent broke: {error}");
        exchange.await.map_err(failed)?;
        match serde_json::from_slice(&answer) {
            Ok(Answer::Ok(_)) => Ok(()),
            Ok(Answer::Error(problem)) => Err(format!("the agent cannot do it yet: {problem}")),
            Err(_) => Err("the node's agent ended before it answered".to_owned()),
        }
    }

    async fn connect(&self) -> Result<UnixStream, String> {
        let deadline = Instant::now() + CONNECT_LIMIT;
        loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Ok(stream),
                Err(_) if Instant::now() < deadline => sleep(CONNECT_PAUSE).await,
                Err(error) => return Err(format!("the node's agent cannot be reached: {error}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enrolments_are_as_the_agent_reads_them() {
        let annotations = [
            ("ambient.istio.io/dns-capture", "false"),
            ("ambient.istio.io/bypass-inbound-capture", "true"),
            ("istio.io/reroute-virtual-interfaces", "vm0, vm1,"),
        ];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let names = ["u", "cart", "shop", "sa"];
        let pod = Enrolment::new(names, ("/n".into(), "/r".into()), &annotations);
        assert_eq!(
            json!({ "add": pod }),
            json!({ "add": {
                "uid": "u", "name": "cart", "namespace": "shop", "serviceAccount": "sa", "netns": "/n",
                "resolvConf": "/r", "dnsCapture": false, "bypassInboundCapture": true,
                "rerouteInterfaces": ["vm0", "vm1"],
            } })
        );
        let plain = Enrolment::new(names, ("/n".into(), "/r".into()), &BTreeMap::new());
        let plain = json!(plain);
        assert_eq!(plain.get("dnsCapture"), None);
        assert_eq!(plain["bypassInboundCapture"], false);
    }
}
