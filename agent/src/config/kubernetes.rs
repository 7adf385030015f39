//! What can be configured about Kubernetes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Env, flag, path};
use crate::install::InstallConfig;
use crate::install::kubeconfig::server;
use crate::kubernetes::membership::Exclusions;

/// Where pods mount their service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How Kubernetes is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// The node whose pods are captured.
    pub node: String,
    /// What is kept out of the mesh.
    pub exclusions: Exclusions,
    /// The node's root directory as this process sees it.
    pub host_root: PathBuf,
    /// Where the CNI plugin is installed, if it is.
    pub install: Option<InstallConfig>,
}

// === impl KubernetesConfig ===

impl KubernetesConfig {
    pub(super) fn read(env: &mut Env<'_>, run_dir: &Path) -> Self {
        let mut exclusions = Exclusions::default();
        if let Some(namespace) = env.get("POD_NAMESPACE", "a namespace", word) {
            exclusions.system_namespace = namespace;
        }
        if let Some(namespaces) = env.get("EXCLUDE_NAMESPACES", "a list", list) {
            exclusions.namespaces = namespaces;
        }
        let install = match env.get("AMBIT_INSTALL_CNI", "true or false", flag) {
            Some(false) => None,
            _ => Some(install(env, run_dir, &exclusions)),
        };
        Self {
            node: env.need("NODE_NAME", "set it to the field spec.nodeName of the agent's pod"),
            host_root: env
                .get("HOST_ROOT", "a path", path)
                .unwrap_or_else(|| "/proc/1/root".into()),
            exclusions,
            install,
        }
    }
}

fn install(env: &mut Env<'_>, run_dir: &Path, exclusions: &Exclusions) -> InstallConfig {
    let mut at = |name, default: &str| {
        env.get(name, "a path", path).unwrap_or_else(|| PathBuf::from(default))
    };
    let beside = std::env::current_exe()
        .map(|program| program.with_file_name("ambit-cni"))
        .unwrap_or_else(|_| "ambit-cni".into());
    let (bin_dir, net_dir) =
        (at("CNI_BIN_DIR", "/host/opt/cni/bin"), at("CNI_NET_DIR", "/host/etc/cni/net.d"));
    let net_dir_on_node = at("CNI_NET_DIR_ON_NODE", "/etc/cni/net.d");
    let service_account = at("AMBIT_SERVICE_ACCOUNT_DIR", SERVICE_ACCOUNT);
    let why = "the kubelet sets it for every pod; the CNI plugin needs the API server's address";
    InstallConfig {
        plugin: env.get("AMBIT_CNI_PLUGIN", "a path", path).unwrap_or(beside),
        bin_dir,
        net_dir,
        net_dir_on_node,
        run_dir: run_dir.to_owned(),
        service_account,
        api_server: server(
            &env.need("KUBERNETES_SERVICE_HOST", why),
            &env.need("KUBERNETES_SERVICE_PORT", why),
        ),
        own_list: env.get("AMBIT_CNI_OWN_LIST", "true or false", flag).unwrap_or(false),
        exclude_namespaces: exclusions.namespaces.iter().cloned().collect(),
        system_namespace: exclusions.system_namespace.clone(),
    }
}

fn word(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn list(text: &str) -> Option<BTreeSet<String>> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    Some(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Config, USAGE};

    fn read(vars: &[(&str, &str)]) -> Result<Config, String> {
        let find = |name: &str| vars.iter().find(|(known, _)| *known == name);
        Config::read(&|name| find(name).map(|(_, value)| (*value).to_owned()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn everything_can_be_set() {
        let vars = [
            ("AMBIT_KUBERNETES", "true"),
            ("NODE_NAME", "node1"),
            ("POD_NAMESPACE", "mesh"),
            ("EXCLUDE_NAMESPACES", "kube-system, infra,"),
            ("HOST_ROOT", "/host"),
            ("AMBIT_INSTALL_CNI", "true"),
            ("AMBIT_CNI_PLUGIN", "/p"),
            ("CNI_BIN_DIR", "/b"),
            ("CNI_NET_DIR", "/n"),
            ("CNI_NET_DIR_ON_NODE", "/o"),
            ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
            ("KUBERNETES_SERVICE_PORT", "443"),
        ];
        let config = read(&vars).unwrap().kubernetes.unwrap();
        assert_eq!((config.node.as_str(), config.host_root.to_str()), ("node1", Some("/host")));
        let install = config.install.unwrap();
        assert_eq!(install.exclude_namespaces, ["infra", "kube-system"]);
        assert_eq!(install.system_namespace, "mesh");
        assert_eq!(install.api_server, "https://10.96.0.1:443");
        assert_eq!(install.net_dir_on_node.to_str(), Some("/o"));
        for (name, _) in vars.iter().filter(|(name, _)| !name.starts_with("KUBERNETES_SERVICE")) {
            assert!(USAGE.contains(name), "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = read(&[("AMBIT_KUBERNETES", "true")]).unwrap_err();
        for name in ["NODE_NAME", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"] {
            assert!(error.contains(&format!("{name} is not set")), "{error}");
        }
        let alone = [("AMBIT_KUBERNETES", "1"), ("NODE_NAME", "n"), ("AMBIT_INSTALL_CNI", "false")];
        assert_eq!(read(&alone).unwrap().kubernetes.unwrap().install, None);
        assert_eq!(read(&[("NODE_NAME", "n")]).unwrap().kubernetes, None);
    }
}
