//! The task that keeps one identity's credential fresh.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use ambit_model::Identity;
use ambit_tls::{Credential, x509};
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::entry::Entry;
use super::gate::{Permit, Priority};
use super::inner::Inner;
use super::schedule::{self, Lifetime};
use crate::source::FetchError;

/// The longest sleep without a look at the clock, which may be set, or stand still while the machine is suspended.
const LOOK: Duration = Duration::from_secs(30);

pub(super) async fn keep(identities: Weak<Inner>, entry: Arc<Entry>) {
    let mut lifetime = entry.credential().map(|restored| {
        let validity = restored.validity();
        Lifetime { start: validity.not_before, end: validity.not_after }
    });
    let Some(mut roots) = identities.upgrade().map(|inner| inner.roots.subscribe()) else { return };
    let mut tries = 0;
    let mut failures = 0;
    let mut wait = schedule::wait(SystemTime::now(), lifetime, failures, rand::random());
    loop {
        tokio::select! {
            () = sleep(wait, &entry, failures == 0) => {}
            () = other_roots(&mut roots, &mut tries, &entry) => {}
        }
        let Some(inner) = identities.upgrade() else {
            return;
        };
        let permit = permit(&inner, &entry).await;
        let answer = request(&inner, entry.identity()).await;
        drop(permit);
        let now = SystemTime::now();
        match &answer {
            Ok(credential) => {
                failures = 0;
                lifetime = Some(used_from(now, credential));
            }
            Err(_) => failures = failures.saturating_add(1),
        }
        wait = schedule::wait(now, lifetime, failures, rand::random());
        settle(&inner, &entry, answer, wait);
    }
}

/// Returns some seconds after the credential has come to differ from the roots that are expected. A replica of the
/// certificate authority may lag behind, so that one renewal may not be enough; `tries` counts them.
async fn other_roots(
    expected: &mut watch::Receiver<Arc<[CertificateDer<'static>]>>,
    tries: &mut u32,
    entry: &Entry,
) {
    loop {
        if expected.has_changed().unwrap_or(false) {
            *tries = 0;
        }
        let is_due = {
            let roots = expected.borrow_and_update();
            let is_other = |held: &[CertificateDer<'_>]| {
                *held != **roots && held.iter().any(|root| roots.contains(root))
            };
            entry.credential().is_some_and(|credential| is_other(credential.roots()))
        };
        if is_due && let Some(wait) = schedule::for_roots(*tries, rand::random()) {
            *tries += 1;
            return tokio::time::sleep(wait).await;
        }
        if expected.changed().await.is_err() {
            return std::future::pending().await;
        }
        *tries = 0;
    }
}

/// Sleeps until `wait` has passed by one of the clocks. Certificates are bound to the wall clock, which may be set, in
/// both directions; so where the `last` request brought one, it also returns when that does not count any more.
async fn sleep(wait: Duration, entry: &Entry, last: bool) {
    let (wall, steady) = (SystemTime::now(), Instant::now());
    loop {
        let now = SystemTime::now();
        let passed = now.duration_since(wall).unwrap_or_default().max(steady.elapsed());
        let left = wait.saturating_sub(passed);
        let lapsed = last && entry.credential().is_some_and(|held| !held.is_valid_at(now));
        if left.is_zero() || lapsed {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LOOK)) => {}
            // Somebody waits: the clock may have been set. Look at it again.
            () = entry.woken() => {}
        }
    }
}

/// Queues by who waits, and moves ahead as soon as somebody does.
async fn permit(inner: &Inner, entry: &Entry) -> Permit {
    loop {
        let priority = entry.priority();
        tokio::select! {
            biased;
            permit = inner.gate.enter(priority) => return permit,
            () = entry.woken(), if priority == Priority::Ahead => {}
        }
    }
}

async fn request(inner: &Inner, identity: &Identity) -> Result<Credential, FetchError> {
    let pem = inner.source.fetch(identity).await?;
    let credential = Credential::from_pem(pem, &inner.revocations)?;
    if credential.identity() != identity {
        let got = credential.chain().first().and_then(|leaf| x509::first_uri(leaf).ok().flatten());
        return Err(FetchError::WrongIdentity { got });
    }
    if !credential.is_valid_at(SystemTime::now()) {
        return Err(FetchError::NotValidNow);
    }
    Ok(credential)
}

fn used_from(now: SystemTime, credential: &Credential) -> Lifetime {
    let validity = credential.validity();
    Lifetime { start: now.max(validity.not_before), end: validity.not_after }
}

/// Tells everybody how the request went.
fn settle(inner: &Inner, entry: &Entry, answer: Result<Credential, FetchError>, next: Duration) {
    let identity = entry.identity();
    match answer {
        Ok(credential) => {
            inner.metrics.fetched("success");
            debug!(%identity, next_in = ?next, "certificate received");
            entry.renewed(Arc::new(credential));
            inner.changed();
        }
        Err(failure) => {
            inner.metrics.fetched(failure.reason());
            let left = entry.credential().map(|credential| {
                credential
                    .validity()
                    .not_after
                    .duration_since(SystemTime::now())
                    .unwrap_or_default()
            });
            warn!(
                %identity,
                error = &failure as &dyn std::error::Error,
                next_try_in = ?next,
                old_certificate_counts_for = ?left.unwrap_or_default(),
                "no new certificate"
            );
            entry.failed(Arc::new(failure));
        }
    }
}
