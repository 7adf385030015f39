//! How far a rotation has come, and the Secret's content for each step. Pure.

use std::collections::BTreeMap;

use ambit_identity::{CA_CERT, CA_KEY, CERT_CHAIN, ROOT_CERT};

/// The root that does not sign: the new one before it does, the old one after.
const NEXT: [&str; 2] = ["next-cert.pem", "next-key.pem"];
const PREVIOUS: [&str; 2] = ["previous-cert.pem", "previous-key.pem"];

/// How far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No rotation is under way.
    Settled,
    /// Both roots are published, the old one signs.
    Announced,
    /// Both roots are published, the new one signs.
    Switched,
}

/// Why the content of the Secret cannot be rotated.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum PhaseError {
    #[error("{0} is missing or no text: put back a copy of the Secret that was in use")]
    Missing(&'static str),
    #[error(
        "{CERT_CHAIN} says that the signer is no root: its owner has to rotate it, see docs/operations.md"
    )]
    Intermediate,
    #[error("it has keys of two steps, {0} and {1}: remove those that are not in use")]
    Mixed(&'static str, &'static str),
}

/// The signer and, during a rotation, the other root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    signer: Pair,
    /// All roots in order, PEM.
    roots: String,
    phase: Phase,
    /// There unless the phase is `Settled`.
    other: Pair,
}

/// A root and its key, PEM.
#[derive(Clone, Default, PartialEq, Eq)]
struct Pair {
    certificate: String,
    key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

// === impl Authority ===

impl Authority {
    /// Reads the Secret's content.
    ///
    /// # Errors
    /// It is not one that this command, or a controller, has written.
    pub(super) fn read(data: &BTreeMap<String, String>) -> Result<Self, PhaseError> {
        let text = |name: &str| data.get(name).filter(|text| !text.trim().is_empty()).cloned();
        let needed = |name| text(name).ok_or(PhaseError::Missing(name));
        let pair = |[certificate, key]: [&'static str; 2]| {
            Ok(Pair { certificate: needed(certificate)?, key: needed(key)? })
        };
        if text(CERT_CHAIN).is_some() {
            return Err(PhaseError::Intermediate);
        }
        let signer = pair([CA_CERT, CA_KEY])?;
        // Secrets that istiod made hold no roots of their own.
        let roots = text(ROOT_CERT).unwrap_or_else(|| signer.certificate.clone());
        let has = |keys: [&str; 2]| keys.iter().any(|key| data.contains_key(*key));
        let (phase, other) = match (has(NEXT), has(PREVIOUS)) {
            (false, false) => (Phase::Settled, Pair::default()),
            (true, false) => (Phase::Announced, pair(NEXT)?),
            (false, true) => (Phase::Switched, pair(PREVIOUS)?),
            (true, true) => return Err(PhaseError::Mixed(NEXT[0], PREVIOUS[0])),
        };
        Ok(Self { signer, roots, phase, other })
    }

    /// The Secret's content.
    pub(super) fn data(&self) -> BTreeMap<String, String> {
        let other = match self.phase {
            Phase::Settled => None,
            Phase::Announced => Some(NEXT),
            Phase::Switched => Some(PREVIOUS),
        };
        let mut pairs = vec![
            (CA_CERT, &self.signer.certificate),
            (CA_KEY, &self.signer.key),
            (ROOT_CERT, &self.roots),
        ];
        if let Some([certificate, key]) = other {
            pairs.extend([(certificate, &self.other.certificate), (key, &self.other.key)]);
        }
        pairs.into_iter().map(|(name, text)| (name.to_owned(), text.clone())).collect()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// All roots that are published, in order.
    pub(super) fn roots(&self) -> &str {
        &self.roots
    }

    /// The root that signs.
    pub(super) fn root(&self) -> &str {
        &self.signer.certificate
    }

    /// The root that does not.
    pub(super) fn other_root(&self) -> &str {
        &self.other.certificate
    }

    /// Both roots are published.
    pub(super) fn announced(&self, certificate: String, key: String) -> Self {
        let other = Pair { certificate, key };
        let roots = both(&self.roots, &other.certificate);
        Self { roots, phase: Phase::Announced, other, ..self.clone() }
    }

    /// The new root signs. The order of the roots is another now, by which proxies notice.
    pub(super) fn switched(&self) -> Self {
        self.exchanged(Phase::Switched)
    }

    /// The old root signs again.
    pub(super) fn switched_back(&self) -> Self {
        self.exchanged(Phase::Announced)
    }

    /// The root that signs is the only one.
    pub(super) fn settled(&self) -> Self {
        let roots = self.signer.certificate.clone();
        Self { roots, phase: Phase::Settled, other: Pair::default(), ..self.clone() }
    }

    fn exchanged(&self, phase: Phase) -> Self {
        let (signer, other) = (self.other.clone(), self.signer.clone());
        Self { roots: both(&signer.certificate, &other.certificate), signer, phase, other }
    }
}

fn both(first: &str, second: &str) -> String {
    format!("{}\n{}\n", first.trim_end(), second.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect()
    }

    /// What the Secret holds: phase, signer, its key, roots.
    fn shown(authority: &Authority) -> (Phase, String, String, String) {
        let data = authority.data();
        let text = |name: &str| data[name].clone();
        // Nothing is lost on the way through the Secret.
        assert_eq!(Authority::read(&data).as_ref(), Ok(authority));
        (authority.phase(), text(CA_CERT), text(CA_KEY), text(ROOT_CERT).replace('\n', " "))
    }

    fn expect(authority: &Authority, phase: Phase, signer: &str, roots: &str) {
        let expected = (phase, signer.to_owned(), format!("{signer}-key"), roots.to_owned());
        assert_eq!(shown(authority), expected);
    }

    #[test]
    fn step_by_step_there_and_back() {
        let first = Authority::read(&data(&[(CA_CERT, "old"), (CA_KEY, "old-key")])).unwrap();
        expect(&first, Phase::Settled, "old", "old");
        let announced = first.announced("new".into(), "new-key".into());
        expect(&announced, Phase::Announced, "old", "old new ");
        assert_eq!((announced.root(), announced.other_root()), ("old", "new"));
        let switched = announced.switched();
        expect(&switched, Phase::Switched, "new", "new old ");
        assert_eq!((switched.root(), switched.other_root()), ("new", "old"));
        expect(&switched.settled(), Phase::Settled, "new", "new");
        expect(&switched.switched_back(), Phase::Announced, "old", "old new ");
        expect(&announced.settled(), Phase::Settled, "old", "old");
    }

    #[test]
    fn a_content_that_is_none_is_named() {
        let good = [(CA_CERT, "c"), (CA_KEY, "k")];
        for (more, expected) in [
            (vec![(CERT_CHAIN, "above")], PhaseError::Intermediate),
            (vec![("next-cert.pem", "n")], PhaseError::Missing("next-key.pem")),
            (
                vec![("next-cert.pem", "n"), ("next-key.pem", "n"), ("previous-key.pem", "p")],
                PhaseError::Mixed(NEXT[0], PREVIOUS[0]),
            ),
            (vec![(CA_KEY, " ")], PhaseError::Missing(CA_KEY)),
        ] {
            let all = [&good[..], &more].concat();
            assert_eq!(Authority::read(&data(&all)).unwrap_err(), expected);
        }
        assert!(Authority::read(&data(&[(CERT_CHAIN, ""), good[0], good[1]])).is_ok());
    }
}
