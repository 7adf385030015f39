//! Who is not ready for the next step of a rotation. Pure.

use std::time::{Duration, SystemTime};

use ambit_tls::{descends, pem};
use anyhow::{Context as _, Result};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::facts::Facts;
use crate::dump::Held;

/// What every proxy's certificates must fulfil.
#[derive(Debug)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// They came with this root among those that are trusted.
    Trusts(CertificateDer<'static>),
    /// They lead to this root.
    Descends(CertificateDer<'static>),
}

// === impl Need ===

impl Need {
    /// Every proxy trusts the root `pem`.
    pub(super) fn trusts(pem: &str) -> Result<Self> {
        Ok(Self::Trusts(one(pem)?))
    }

    /// Every certificate comes from the root `pem`.
    pub(super) fn descends(pem: &str) -> Result<Self> {
        Ok(Self::Descends(one(pem)?))
    }

    fn is_met(&self, held: &Held, now: SystemTime) -> bool {
        match self {
            // Who has no certificate yet gets one as they are now.
            _ if held.chain.is_empty() => true,
            Self::Nothing => true,
            Self::Trusts(root) => held.roots.contains(root),
            Self::Descends(root) => descends(&held.chain, root, now),
        }
    }
}

fn one(pem: &str) -> Result<CertificateDer<'static>> {
    let all = pem::certificates(pem.as_bytes()).context("the Secret's certificate")?;
    all.into_iter().next().context("the Secret's certificate is empty")
}

/// Each controller and namespace that does not publish `roots`, and each proxy that does not fulfil `need`.
pub(super) fn behind(
    facts: &Facts,
    roots: &str,
    need: &Need,
    now: SystemTime,
) -> Result<Vec<String>> {
    let wanted = pem::certificates(roots.as_bytes()).context("the Secret's roots")?;
    let publishes =
        |text: &str| pem::certificates(text.as_bytes()).is_ok_and(|found| found == wanted);
    let mut behind = Vec::new();
    for (name, roots) in &facts.controllers {
        match roots {
            Ok(text) if publishes(text) => {}
            Ok(_) => behind.push(format!("controller {name} does not publish these roots yet")),
            Err(problem) => behind.push(format!("controller {name} cannot be asked: {problem}")),
        }
    }
    if facts.controllers.is_empty() {
        behind.push("no controller runs".to_owned());
    }
    for (namespace, copy) in &facts.copies {
        if !copy.as_deref().is_some_and(publishes) {
            behind.push(format!(
                "ConfigMap istio-ca-root-cert of namespace {namespace} has other roots"
            ));
        }
    }
    for proxy in &facts.proxies {
        let held = match &proxy.held {
            Ok(held) => held,
            Err(problem) => {
                behind.push(format!("{} on {} cannot be asked: {problem}", proxy.name, proxy.node));
                continue;
            }
        };
        let late: Vec<&Held> = held.iter().filter(|one| !need.is_met(one, now)).collect();
        if !late.is_empty() {
            let until = late.iter().filter_map(|one| half_life(one)).max().and_then(date);
            behind.push(format!(
                "{} on {}: {} of {} certificates, until {}",
                proxy.name,
                proxy.node,
                late.len(),
                held.len(),
                until.unwrap_or_else(|| "they are renewed".to_owned())
            ));
        }
    }
    Ok(behind)
}

/// When it is renewed at the latest: both ztunnels do so around the half of its life.
fn half_life(held: &Held) -> Option<SystemTime> {
    let (start, end) = held.period?;
    let life: Duration = end.duration_since(start).ok()?;
    start.checked_add(life.mul_f64(0.55))
}

fn date(at: SystemTime) -> Option<String> {
    OffsetDateTime::from(at).replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use ambit_identity::{CaFiles, LocalCa};
    use ambit_tls::pem::certificates;

    use super::super::facts::Proxy;
    use super::*;

    /// A server's certificate of `ca`, as somebody holds it who trusts `roots`.
    fn held(ca: &CaFiles, roots: &str, now: SystemTime) -> Held {
        let ca = LocalCa::from_files(ca.clone(), "test", now).unwrap();
        let identity = ambit_model_identity();
        let source =
            ambit_identity::LocalSource::new(std::sync::Arc::new(ca), Duration::from_secs(3600));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let fetched = ambit_identity::CertificateSource::fetch(&source, &identity);
        let chain = runtime.block_on(fetched).unwrap().chain;
        Held {
            identity: identity.to_string(),
            state: "Available".into(),
            chain: certificates(chain.as_bytes()).unwrap(),
            roots: certificates(roots.as_bytes()).unwrap(),
            period: Some((now, now + Duration::from_secs(1000))),
        }
    }

    fn ambit_model_identity() -> ambit_model::Identity {
        ambit_model::Identity::new("cluster.local", "shop", "web")
    }

    fn facts(roots: &str, held: Result<Vec<Held>, String>) -> Facts {
        Facts {
            controllers: vec![("c".into(), Ok(roots.to_owned()))],
            copies: [("shop".to_owned(), Some(roots.to_owned()))].into(),
            proxies: vec![Proxy { name: "ztunnel-1".into(), node: "node1".into(), held }],
        }
    }

    #[test]
    fn everybody_who_is_not_ready_is_named() {
        let now = SystemTime::now();
        let (old, new) = (CaFiles::make(now).unwrap(), CaFiles::make(now).unwrap());
        let both = format!("{}{}", old.roots, new.roots);
        let (trusts, descends) =
            (Need::trusts(&new.roots).unwrap(), Need::descends(&new.roots).unwrap());
        let from_old = |roots: &str| Ok(vec![held(&old, roots, now)]);
        let from_new = |roots: &str| Ok(vec![held(&new, roots, now)]);
        for (name, held, need, expected) in [
            (
                "does not trust it",
                from_old(&old.roots),
                &trusts,
                Some("1 of 1 certificates, until 20"),
            ),
            ("trusts it", from_old(&both), &trusts, None),
            ("still of the old one", from_old(&both), &descends, Some("node1")),
            ("of the new one", from_new(&both), &descends, None),
            ("nothing is asked", from_old(&old.roots), &Need::Nothing, None),
            ("no answer", Err("timed out".to_owned()), &Need::Nothing, Some("timed out")),
            ("no pods", Ok(Vec::new()), &descends, None),
        ] {
            let found = behind(&facts(&both, held), &both, need, now).unwrap();
            match expected {
                None => assert_eq!(found, Vec::<String>::new(), "{name}"),
                Some(words) => {
                    assert!(found.len() == 1 && found[0].contains(words), "{name}: {found:?}")
                }
            }
        }
        let mut facts = facts(&old.roots, Ok(Vec::new()));
        assert_eq!(behind(&facts, &both, &trusts, now).unwrap().len(), 2);
        facts.controllers.clear();
        facts.copies.insert("shop".into(), None);
        let found = behind(&facts, &both, &trusts, now).unwrap();
        assert!(found[0].contains("no controller") && found[1].contains("shop"), "{found:?}");
    }
}
