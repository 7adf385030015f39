//! What the server is called, and what may be a name.

use std::net::SocketAddr;

use super::Args;

/// The names that proxies know the control plane by, the address that is listened on, and what was asked for.
pub(super) fn server_names(args: &Args, listen: SocketAddr) -> Vec<String> {
    let (namespace, domain) = (args.cluster.namespace(&args.root_namespace), &args.cluster_domain);
    let mut names = vec!["localhost".to_owned()];
    for service in ["istiod", "ambit-controller"] {
        let name = format!("{service}.{namespace}");
        names.extend([format!("{name}.svc"), format!("{name}.svc.{domain}"), name]);
    }
    let ip = listen.ip();
    if ip.is_unspecified() || ip.is_loopback() {
        names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    }
    if !ip.is_unspecified() && !names.contains(&ip.to_string()) {
        names.push(ip.to_string());
    }
    names.extend(args.server_name.iter().cloned());
    names
}

pub(super) fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// A name without dots, as that of a namespace.
pub(super) fn is_label(text: &str) -> bool {
    is_domain(text) && !text.contains('.') && text.len() <= 63
}
