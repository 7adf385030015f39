//! A foreign implementation on the other side.

use std::path::Path;
use std::process::Stdio;

use ambit_tls::{Credential, CredentialPem, TlsError, accept, peer_identity};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::pki::{Authority, Leaf, build, identity};

/// Whether `openssl` is there; where CI runs it has to be.
fn available() -> bool {
    let found = std::process::Command::new("openssl").arg("version").output().is_ok();
    assert!(found || std::env::var("CI").as_deref() != Ok("true"), "openssl is needed; install it");
    if !found {
        println!("skipped: openssl is not installed");
    }
    found
}

fn write(dir: &Path, pem: &CredentialPem) {
    std::fs::write(dir.join("chain.pem"), &pem.chain).unwrap();
    std::fs::write(dir.join("key.pem"), &pem.key).unwrap();
    std::fs::write(dir.join("roots.pem"), &pem.roots).unwrap();
}

/// Runs `openssl s_client` with `extra` arguments against a server that is `server`.
async fn s_client(
    server: &Credential,
    dir: &Path,
    extra: &[&str],
) -> (Result<Option<String>, TlsError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-connect",
        &address,
        "-CAfile",
        "roots.pem",
        "-verify_return_error",
    ]);
    command.args(extra).current_dir(dir).stdin(Stdio::null());
    let serving = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = accept(server, tcp).await?;
        let identity = peer_identity(stream.get_ref().1).map(|identity| identity.to_string());
        stream.shutdown().await?;
        Ok(identity)
    };
    let (served, output) = tokio::join!(serving, command.output());
    let output = output.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (served, String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn s_client_is_served_or_refused() {
    if !available() {
        return;
    }
    let signer = Authority::root("cluster.local").intermediate("signer", 3);
    let (web, cart) = (identity("shop", "web"), identity("shop", "cart"));
    let server = signer.credential(&cart);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &signer.issue(&Leaf::of(&web)));
    let ours = ["-cert", "chain.pem", "-key", "key.pem", "-cert_chain", "chain.pem"];
    let with = |extra: &[&'static str]| [ours.as_slice(), extra].concat();

    let (served, text) = s_client(&server, dir.path(), &with(&["-tls1_3", "-alpn", "h2"])).await;
    assert_eq!(served.unwrap().as_deref(), Some("spiffe://cluster.local/ns/shop/sa/web"), "{text}");
    assert!(text.contains("TLS_AES_256_GCM_SHA384"), "{text}");
    assert!(text.contains("ALPN protocol: h2"), "{text}");
    assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
    assert!(!text.contains("Post-Handshake New Session Ticket"), "no tickets: {text}");

    let (served, text) = s_client(&server, dir.path(), &with(&["-groups", "P-256"])).await;
    assert!(served.is_ok(), "P-256 alone: {text}");
    let (served, _) = s_client(&server, dir.path(), &with(&[])).await;
    assert!(served.is_ok(), "without ALPN");

    for (refused, name) in [
        (with(&["-tls1_2"]), "TLS 1.2"),
        (with(&["-alpn", "http/1.1"]), "HTTP/1.1 alone"),
        (with(&["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"]), "ChaCha20 alone"),
    ] {
        let (served, text) = s_client(&server, dir.path(), &refused).await;
        assert_eq!(served.unwrap_err().reason(), "handshake", "{name}");
        assert!(text.contains("alert"), "{name} is told: {text}");
    }
    let (served, text) = s_client(&server, dir.path(), &["-tls1_3"]).await;
    assert_eq!(served.unwrap_err().reason(), "no_certificate", "{text}");
}

#[tokio::test]
async fn the_dump_is_what_openssl_reads() {
    if !available() {
        return;
    }
    use base64::Engine as _;
    let root = Authority::root("cluster.local");
    let credential = build(root.issue(&Leaf::of(&identity("shop", "web"))));
    let dump = credential.cert_chain().remove(0);
    let pem = base64::engine::general_purpose::STANDARD.decode(&dump.pem).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("leaf.pem"), pem).unwrap();
    let mut command = Command::new("openssl");
    command
        .args(["x509", "-in", "leaf.pem", "-noout", "-serial", "-dates", "-dateopt", "iso_8601"]);
    let output = command.current_dir(dir.path()).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("serial=4D"), "77 in hexadecimal: {text}");
    assert_eq!(dump.serial_number, "77");
    for (label, ours) in [("notBefore=", &dump.valid_from), ("notAfter=", &dump.expiration_time)] {
        let theirs = text.lines().find_map(|line| line.strip_prefix(label)).unwrap();
        assert_eq!(&theirs.replace(' ', "T"), ours);
    }
}
