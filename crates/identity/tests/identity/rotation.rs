//! Renewal at half-life, what happens when it fails, and how that shows.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use ambit_identity::{Identities, LocalCa, LocalSource, ROOT_CERT, State};
use ambit_tls::{Credential, Revocations, accept, connect};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixtures::{DEADLINE, HOUR, Scripted, eventually, identity};

const SHORT: Duration = Duration::from_secs(2);

fn serial(credential: &Credential) -> String {
    credential.cert_chain()[0].serial_number.clone()
}

fn metric(registry: &Registry, name: &str) -> Option<f64> {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn renewal_leaves_live_connections_alone() {
    let source = Scripted::new(SHORT);
    let identities = Identities::new(Arc::clone(&source) as Arc<_>, Revocations::none());
    let web = identity("web");
    let first = identities.obtain(&web).await.unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let expected = std::slice::from_ref(&web);
    let (served, dialled) = tokio::join!(accept(&first, far), connect(&first, expected, near));
    let (mut served, mut dialled) = (served.unwrap(), dialled.unwrap());

    eventually("a new certificate", || {
        identities.current(&web).is_some_and(|now| serial(&now) != serial(&first))
    })
    .await;
    assert!(first.is_valid_at(SystemTime::now()), "renewed before the old one had expired");
    let end = first.validity().not_after;
    eventually("the end of the old certificate", || SystemTime::now() > end).await;
    dialled.write_u8(7).await.unwrap();
    dialled.flush().await.unwrap();
    assert_eq!(served.read_u8().await.unwrap(), 7);

    let now = identities.obtain(&web).await.unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (served, dialled) = tokio::join!(accept(&now, far), connect(&now, expected, near));
    assert!(served.is_ok() && dialled.is_ok(), "new handshakes use the new one");
}

#[tokio::test]
async fn a_failing_renewal_shows_before_the_old_certificate_ends() {
    let source = Scripted::new(Duration::from_secs(4));
    let identities = Identities::new(Arc::clone(&source) as Arc<_>, Revocations::none());
    let mut registry = Registry::default();
    identities.register(&mut registry);
    assert_eq!(metric(&registry, "certificate_earliest_expiry_seconds"), None);
    let web = identity("web");
    let first = identities.obtain(&web).await.unwrap();
    let left = metric(&registry, "certificate_earliest_expiry_seconds").unwrap();
    assert!(left > 2.0 && left <= 5.0, "{left}");
    assert_eq!(metric(&registry, "certificates_unavailable"), Some(0.0));
    source.failing.store(true, Ordering::SeqCst);

    let failures = "certificate_requests_total{result=\"token\"}";
    eventually("a failed renewal", || metric(&registry, failures).is_some()).await;
    assert!(first.is_valid_at(SystemTime::now()), "known long before it ends");
    assert!(matches!(identities.states()[0].state, State::Available));
    assert_eq!(serial(&identities.obtain(&web).await.unwrap()), serial(&first), "kept until then");

    eventually("its end", || identities.current(&web).is_none()).await;
    assert!(SystemTime::now() > first.validity().not_after);
    assert_eq!(identities.obtain(&web).await.unwrap_err().reason(), "token");
    assert!(matches!(identities.states()[0].state, State::Unavailable(_)));
    assert_eq!(metric(&registry, "certificates_unavailable"), Some(1.0));
    assert!(metric(&registry, "certificate_earliest_expiry_seconds").unwrap() < 0.0);
    assert!(identities.export().is_empty());

    source.failing.store(false, Ordering::SeqCst);
    eventually("recovery", || identities.current(&web).is_some()).await;
    assert_eq!(metric(&registry, "certificate_requests_total{result=\"success\"}"), Some(2.0));
}

#[tokio::test]
async fn a_restored_certificate_is_renewed_once_it_is_claimed() {
    let source = Scripted::new(SHORT);
    let before = Identities::new(Arc::clone(&source) as Arc<_>, Revocations::none());
    let web = identity("web");
    let first = before.obtain(&web).await.unwrap();
    let saved = before.export();
    drop(before);
    let source = Scripted::new(HOUR);
    let after = Identities::new(Arc::clone(&source) as Arc<_>, Revocations::none());
    assert_eq!(after.import(saved, SystemTime::now()), 1);
    after.prefetch(&web);
    assert_eq!(serial(&after.obtain(&web).await.unwrap()), serial(&first));
    let renewed = || after.current(&web).is_some_and(|now| serial(&now) != serial(&first));
    eventually("renewal", renewed).await;
    assert_eq!(source.count(), 1);
}

#[tokio::test]
async fn nothing_is_asked_for_once_all_are_gone() {
    let source = Scripted::new(SHORT);
    let identities = Identities::new(Arc::clone(&source) as Arc<_>, Revocations::none());
    let first = identities.obtain(&identity("web")).await.unwrap();
    drop(identities);
    let end = first.validity().not_after;
    eventually("two lifetimes", || SystemTime::now() > end).await;
    assert_eq!(source.count(), 1);
}

#[tokio::test]
async fn other_roots_have_certificates_renewed_until_they_come() {
    let source = Scripted::new(HOUR);
    let identities = Identities::new(Arc::clone(&source) as Arc<_>, Revocations::none());
    let web = identity("web");
    let first = identities.obtain(&web).await.unwrap();
    let stranger = LocalCa::in_memory(SystemTime::now()).unwrap();
    let stranger = ambit_tls::pem::certificates(stranger.roots_pem().as_bytes()).unwrap();
    // Roots as they are, and somebody else's, are no reason to renew.
    identities.expect_roots(first.roots().to_vec());
    identities.expect_roots(stranger.clone());
    // Those of the next step of a rotation are; the authority here lags behind, so it is asked again.
    identities.expect_roots([first.roots(), &stranger].concat());
    eventually("two renewals", || source.count() >= 3).await;
    let now = identities.current(&web).unwrap();
    assert!(serial(&now) != serial(&first));
    assert!(first.is_valid_at(SystemTime::now()), "connections keep what they have");
    identities.expect_roots(first.roots().to_vec());
    let other = identity("other");
    identities.obtain(&other).await.unwrap();
    assert_eq!(source.asked.lock().iter().filter(|&asked| *asked == other).count(), 1);
}

/// One workload on each of three authorities: before, in, and after the rotation of the root.
#[tokio::test]
async fn the_root_rotates_with_both_trusted_in_between() {
    let [old_dir, new_dir] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let now = SystemTime::now();
    LocalCa::open_or_create(old_dir.path(), now).unwrap();
    LocalCa::open_or_create(new_dir.path(), now).unwrap();
    let roots = [&old_dir, &new_dir]
        .map(|dir| std::fs::read_to_string(dir.path().join(ROOT_CERT)).unwrap());
    let obtain = async |dir: &tempfile::TempDir, account: &str| {
        let ca = Arc::new(LocalCa::open_or_create(dir.path(), now).unwrap());
        let source = LocalSource::new(ca, HOUR);
        let identities = Identities::new(Arc::new(source), Revocations::none());
        identities.obtain(&identity(account)).await.unwrap()
    };
    let meet = async |server: &Credential, client: &Credential| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let expected = std::slice::from_ref(server.identity());
        let talk = async {
            let (served, dialled) =
                tokio::join!(accept(server, far), connect(client, expected, near));
            served.is_ok() && dialled.is_ok()
        };
        tokio::time::timeout(DEADLINE, talk).await.unwrap()
    };
    let before = obtain(&old_dir, "before").await;
    // Step 1: both are trusted, the old one still signs. Step 2: the new one signs. Step 3: the old one goes.
    std::fs::write(old_dir.path().join(ROOT_CERT), roots.concat()).unwrap();
    let first = obtain(&old_dir, "first").await;
    std::fs::write(new_dir.path().join(ROOT_CERT), roots.concat()).unwrap();
    let second = obtain(&new_dir, "second").await;
    std::fs::write(new_dir.path().join(ROOT_CERT), &roots[1]).unwrap();
    let after = obtain(&new_dir, "after").await;
    assert_eq!((first.roots().len(), after.roots().len()), (2, 1));
    for neighbours in [(&before, &first), (&first, &second), (&second, &after)] {
        let (one, other) = neighbours;
        assert!(meet(one, other).await && meet(other, one).await, "{neighbours:?}");
    }
    assert!(!meet(&before, &after).await, "two steps at once are one too many");
}
