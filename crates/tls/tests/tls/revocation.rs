//! Revocation lists: who is refused, and what happens when the file changes.

use std::time::Duration;

use ambit_tls::{Credential, RevocationError, RevocationList, Revocations};

use crate::pki::{Authority, Leaf, build, build_with, identity, meet_twice, reason};

const DEADLINE: Duration = Duration::from_secs(20);

fn numbered(serial: u8, account: &str) -> Leaf {
    Leaf { serial, ..Leaf::of(&identity("shop", account)) }
}

fn list(pem: &str) -> Revocations {
    Revocations::fixed(RevocationList::from_pem(pem.as_bytes()).unwrap())
}

async fn verdict(server: &Credential, client: &Credential) -> (&'static str, &'static str) {
    let outcome = meet_twice(server, client, std::slice::from_ref(server.identity())).await;
    (reason(&outcome.server), reason(&outcome.client))
}

#[tokio::test]
async fn leaf_and_intermediate_are_looked_up_on_both_sides() {
    let root = Authority::root("cluster.local");
    let signer = root.intermediate("signer", 9);
    let web = || signer.issue(&numbered(21, "web"));
    let cart = || signer.issue(&numbered(22, "cart"));
    let good = ("ok", "ok");
    let (client_out, server_out) = (("revoked", "revoked_by_peer"), ("revoked_by_peer", "revoked"));
    let other = Authority::root("elsewhere");
    for (name, pem, with_server, with_client) in [
        ("empty", signer.crl(&[]), good, good),
        ("another leaf", signer.crl(&[99]), good, good),
        ("the client", signer.crl(&[21]), client_out, good),
        ("the server", signer.crl(&[22]), good, server_out),
        ("of another issuer", other.crl(&[21, 22]), good, good),
        ("their issuer", root.crl(&[signer.serial()]), client_out, server_out),
        ("second list of the same issuer", signer.crl(&[]) + &signer.crl(&[21]), client_out, good),
        ("two issuers", root.crl(&[]) + &signer.crl(&[21]), client_out, good),
    ] {
        let revocations = list(&pem);
        let (server, client) = (build_with(cart(), &revocations), build(web()));
        assert_eq!(verdict(&server, &client).await, with_server, "{name}: server has the list");
        assert_eq!(
            revocations.current().revokes(client.chain()),
            with_server == client_out,
            "{name}"
        );
        let (server, client) = (build(cart()), build_with(web(), &revocations));
        assert_eq!(verdict(&server, &client).await, with_client, "{name}: client has the list");
        assert_eq!(
            revocations.current().revokes(server.chain()),
            with_client == server_out,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_list_that_its_issuer_did_not_sign_refuses() {
    let root = Authority::root("cluster.local");
    let mut forged = ambit_tls_der(&root.crl(&[]));
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let forged = list(&ambit_tls::pem::encode("X509 CRL", &forged));
    let server = build_with(root.issue(&numbered(22, "cart")), &forged);
    let client = build(root.issue(&numbered(21, "web")));
    assert_eq!(verdict(&server, &client).await.0, "revocation_list");
}

fn ambit_tls_der(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

#[tokio::test]
async fn a_list_of_the_old_root_does_not_disturb_the_new_one_of_the_same_name() {
    let (old, new) = (Authority::root("cluster.local"), Authority::root("cluster.local"));
    let both = [&old, &new];
    for pem in [old.crl(&[21]), old.crl(&[21]) + &new.crl(&[]), new.crl(&[]) + &old.crl(&[21])] {
        let revocations = list(&pem);
        let server = build_with(new.issue_trusting(&numbered(22, "cart"), &both), &revocations);
        let fresh = build(new.issue_trusting(&numbered(21, "web"), &both));
        assert_eq!(verdict(&server, &fresh).await, ("ok", "ok"));
        assert!(!revocations.current().revokes(fresh.chain()));
        let withdrawn = build(old.issue_trusting(&numbered(21, "web"), &both));
        assert_eq!(verdict(&server, &withdrawn).await.0, "revoked");
        assert!(revocations.current().revokes(withdrawn.chain()));
    }
}

#[tokio::test]
async fn the_file_is_followed_and_a_bad_one_changes_nothing() {
    let root = Authority::root("cluster.local");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("crl.pem");
    std::fs::write(&path, root.crl(&[])).unwrap();
    let revocations = Revocations::follow(path.clone()).unwrap();
    let mut reloads = revocations.subscribe();
    let server = build_with(root.issue(&numbered(22, "cart")), &revocations);
    let client = build(root.issue(&numbered(21, "web")));
    assert_eq!(verdict(&server, &client).await, ("ok", "ok"));

    std::fs::write(&path, root.crl(&[21])).unwrap();
    tokio::time::timeout(DEADLINE, reloads.changed()).await.unwrap().unwrap();
    assert_eq!(verdict(&server, &client).await, ("revoked", "revoked_by_peer"));
    assert!(reloads.borrow().revokes(client.chain()), "live connections can be found");

    // Bad content, then nothing, then good content: only the last one counts as a reload.
    std::fs::write(&path, "no list").unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(verdict(&server, &client).await.0, "revoked");
    let next = dir.path().join("next");
    std::fs::write(&next, root.crl(&[5])).unwrap();
    std::fs::rename(&next, &path).unwrap();
    tokio::time::timeout(DEADLINE, reloads.changed()).await.unwrap().unwrap();
    assert_eq!(verdict(&server, &client).await, ("ok", "ok"));
}

#[tokio::test]
async fn the_symlink_swap_of_kubernetes_volumes_is_noticed() {
    let root = Authority::root("cluster.local");
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("..1"), dir.path().join("..2"));
    for (version, pem) in [(&first, root.crl(&[])), (&second, root.crl(&[21]))] {
        std::fs::create_dir(version).unwrap();
        std::fs::write(version.join("ca-crl.pem"), pem).unwrap();
    }
    std::os::unix::fs::symlink(&first, dir.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/ca-crl.pem", dir.path().join("ca-crl.pem")).unwrap();
    let revocations = Revocations::follow(dir.path().join("ca-crl.pem")).unwrap();
    let mut reloads = revocations.subscribe();
    std::os::unix::fs::symlink(&second, dir.path().join("..data_tmp")).unwrap();
    std::fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    tokio::time::timeout(DEADLINE, reloads.changed()).await.unwrap().unwrap();
    let client = build(root.issue(&numbered(21, "web")));
    assert!(revocations.current().revokes(client.chain()));
}

#[tokio::test]
async fn a_bad_file_at_start_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("crl.pem");
    assert!(matches!(Revocations::follow(path.clone()), Err(RevocationError::Read { .. })));
    let root = Authority::root("cluster.local");
    let broken = ambit_tls::pem::encode("X509 CRL", b"\x30\x03abc");
    for bad in [String::new(), "nonsense".to_owned(), root.pem.clone(), root.crl(&[]) + &broken] {
        std::fs::write(&path, &bad).unwrap();
        assert!(Revocations::follow(path.clone()).is_err(), "{bad}");
    }
    let error = RevocationList::from_pem((root.crl(&[]) + &broken).as_bytes()).unwrap_err();
    assert!(matches!(error, RevocationError::Malformed { index: 1, .. }), "{error}");
}

#[tokio::test]
async fn no_list_never_changes() {
    let mut none = Revocations::none().subscribe();
    drop(none.borrow_and_update());
    let keep = Revocations::none();
    let mut changes = keep.subscribe();
    assert!(tokio::time::timeout(Duration::from_millis(1), changes.changed()).await.is_err());
}
