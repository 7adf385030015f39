//! What a container runtime and a CNI plugin say to each other (CNI specification 0.3.1 to 1.1.0).

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::kubernetes::membership::Exclusions;
use crate::kubernetes::plugin::{CmdAdd, CmdAddIp, CmdAddNet};

/// Versions of the specification that are spoken.
const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The plugin's configuration, from standard input.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NetConf {
    /// The version of the specification in which the runtime speaks.
    #[serde(rename = "cniVersion", default)]
    pub(crate) cni_version: String,
    /// What the plugins before have done; handed on as it is.
    #[serde(rename = "prevResult", default)]
    pub(crate) prev_result: Option<Value>,
    /// The agent's run directory.
    #[serde(rename = "cni_agent_run_dir", default = "run_dir")]
    pub(crate) run_dir: PathBuf,
    /// Credentials for the API server.
    #[serde(default)]
    pub(crate) kubeconfig: PathBuf,
    /// The agent's last written list of namespaces.
    #[serde(default)]
    pub(crate) last_list: PathBuf,
    #[serde(default)]
    exclude_namespaces: BTreeSet<String>,
    /// The mesh's own namespace.
    #[serde(default)]
    pod_namespace: String,
}

/// Which pod it is about, from the variable `CNI_ARGS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodName {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

/// A failure in the specification's terms.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CniError {
    #[error("CNI version {0:?} is not spoken: use one of 0.3.1, 0.4.0, 1.0.0, 1.1.0")]
    Version(String),
    #[error("environment: {0}")]
    Environment(String),
    #[error("configuration on standard input: {0}")]
    Decode(String),
    #[error("configuration: {0}")]
    Config(&'static str),
    #[error("{0}")]
    TryAgain(String),
}

// === impl NetConf ===

impl NetConf {
    /// Reads the configuration; the version has to be one that is spoken.
    pub(crate) fn parse(text: &str) -> Result<Self, CniError> {
        let conf: Self =
            serde_json::from_str(text).map_err(|error| CniError::Decode(error.to_string()))?;
        if !VERSIONS.contains(&conf.cni_version.as_str()) {
            return Err(CniError::Version(conf.cni_version));
        }
        Ok(conf)
    }

    /// Whose pods never wait.
    pub(crate) fn exclusions(&self) -> Exclusions {
        Exclusions {
            namespaces: self.exclude_namespaces.clone(),
            system_namespace: self.pod_namespace.clone(),
        }
    }

    /// The agent's socket message for this pod.
    pub(crate) fn cmd_add(&self, pod: &PodName, netns: &str) -> CmdAdd {
        let ips = self.prev_result.as_ref().and_then(|result| result.get("ips"));
        let ips = ips.and_then(Value::as_array).map(|ips| ips.iter().filter_map(address).collect());
        CmdAdd {
            netns: netns.to_owned(),
            pod_name: pod.name.clone(),
            pod_namespace: pod.namespace.clone(),
            ips,
        }
    }
}

fn run_dir() -> PathBuf {
    "/var/run/istio-cni".into()
}

fn address(ip: &Value) -> Option<CmdAddIp> {
    use base64::Engine as _;
    let (address, length) = ip.get("address")?.as_str()?.split_once('/')?;
    let address: std::net::IpAddr = address.parse().ok()?;
    let length: u32 = length.parse().ok()?;
    let bytes = if address.is_ipv4() { 4 } else { 16 };
    let mask: Vec<u8> = (0..bytes)
        .map(|byte| {
            let ones = length.saturating_sub(8 * byte).min(8);
            !(0xff_u8.checked_shr(ones).unwrap_or(0))
        })
        .collect();
    Some(CmdAddIp {
        interface: ip.get("interface").and_then(Value::as_i64),
        address: CmdAddNet {
            ip: address,
            mask: Some(base64::engine::general_purpose::STANDARD.encode(mask)),
        },
        gateway: Some(ip.get("gateway").and_then(Value::as_str).unwrap_or_default().to_owned()),
    })
}

// === impl PodName ===

impl PodName {
    /// Reads `CNI_ARGS`; `None` if it names no pod of Kubernetes.
    pub(crate) fn parse(args: &str) -> Option<Self> {
        let find = |wanted: &str| {
            let mut pairs = args.split(';').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, value)| *name == wanted && !value.is_empty()).map(|(_, value)| value)
        };
        Some(Self {
            namespace: find("K8S_POD_NAMESPACE")?.to_owned(),
            name: find("K8S_POD_NAME")?.to_owned(),
        })
    }
}

// === impl CniError ===

impl CniError {
    /// What is written to standard output; `version` is the one in which the runtime speaks.
    pub(crate) fn render(&self, version: &str) -> String {
        let code = match self {
            Self::Version(_) => 1,
            Self::Environment(_) => 4,
            Self::Decode(_) => 6,
            Self::Config(_) => 7,
            Self::TryAgain(_) => 11,
        };
        let version = if version.is_empty() { "1.0.0" } else { version };
        json!({"cniVersion": version, "code": code, "msg": format!("ambit-cni: {self}")})
            .to_string()
    }
}

/// The answer to `VERSION`.
pub(crate) fn versions() -> String {
    json!({"cniVersion": "1.1.0", "supportedVersions": VERSIONS}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_named_by_the_arguments() {
        for (args, expected) in [
            (
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart;K8S_POD_UID=u",
                Some(("shop", "cart")),
            ),
            ("K8S_POD_NAME=cart;K8S_POD_NAMESPACE=", None),
            ("K8S_POD_NAME=cart", None),
            ("", None),
        ] {
            let found = PodName::parse(args);
            let found = found.as_ref().map(|pod| (pod.namespace.as_str(), pod.name.as_str()));
            assert_eq!(found, expected, "{args}");
        }
    }

    #[test]
    fn the_agents_message_is_istios() {
        let conf = NetConf::parse(
            r#"{"cniVersion":"1.0.0","name":"net","type":"ambit-cni","prevResult":{"ips":[
                {"address":"10.0.0.5/16","interface":2,"gateway":"10.0.0.1"},{"address":"fd00::5/60"}]}}"#,
        )
        .unwrap();
        let pod = PodName { namespace: "shop".into(), name: "cart".into() };
        let message = serde_json::to_value(conf.cmd_add(&pod, "/var/run/netns/cni-1")).unwrap();
        // 60 ones: seven bytes of ff and one of f0.
        let expected = json!({
            "Netns": "/var/run/netns/cni-1", "PodName": "cart", "PodNamespace": "shop",
            "IPs": [
                {"Interface": 2, "Address": {"IP": "10.0.0.5", "Mask": "//8AAA=="}, "Gateway": "10.0.0.1"},
                {"Interface": null, "Address": {"IP": "fd00::5", "Mask": "//////////AAAAAAAAAAAA=="}, "Gateway": ""},
            ],
        });
        assert_eq!(message, expected);
    }

    #[test]
    fn failures_have_the_specifications_codes() {
        for (text, code) in [("", 6), ("{}", 1), (r#"{"cniVersion":"0.2.0"}"#, 1), ("\"x\"", 6)] {
            let error = NetConf::parse(text).unwrap_err();
            let rendered: Value = serde_json::from_str(&error.render("")).unwrap();
            assert_eq!(rendered["code"], code, "{text}");
        }
        assert!(versions().contains("0.3.1"));
    }
}
