//! The credentials by which the plugin asks the API server: the agent's own, as a kubeconfig.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// A kubeconfig (in JSON, which YAML includes) for `server`, with the certificate authority and the token of the
/// service account directory, as they are now.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn render(server: &str, service_account: &Path) -> io::Result<String> {
    let read = |name: &str| {
        let path = service_account.join(name);
        fs::read(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    };
    let authority = STANDARD.encode(read("ca.crt")?);
    let token = String::from_utf8_lossy(&read("token")?).trim().to_owned();
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "node", "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": "ambit-cni", "user": {"token": token}}],
        "contexts": [{"name": "node", "context": {"cluster": "node", "user": "ambit-cni"}}],
        "current-context": "node",
    });
    Ok(format!("{config}\n"))
}

/// The API server's address from the two variables that every pod has.
pub(crate) fn server(host: &str, port: &str) -> String {
    match host.contains(':') {
        true => format!("https://[{host}]:{port}"),
        false => format!("https://{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_understands_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token"), "secret\n").unwrap();
        let missing = render("https://10.96.0.1:443", dir.path()).unwrap_err().to_string();
        assert!(missing.contains("ca.crt"), "{missing}");
        fs::write(dir.path().join("ca.crt"), "PEM").unwrap();
        let text = render(&server("10.96.0.1", "443"), dir.path()).unwrap();
        let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        let cluster = config.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://10.96.0.1:443"));
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("UEVN"));
        assert_eq!(server("fd00::1", "443"), "https://[fd00::1]:443");
    }
}
