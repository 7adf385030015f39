//! What a replica does about a Lease. Pure; time is passed in.

use k8s_openapi::api::coordination::v1::LeaseSpec;
use tokio::time::Instant;

use super::DURATION;

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write one's name into it.
    Take,
    /// Renew one's own.
    Renew,
    /// Another replica leads.
    Wait,
}

/// The Lease as it was last seen, and since when it has looked like that.
#[derive(Debug, Default)]
pub(super) struct Observed(Option<(LeaseSpec, Instant)>);

// === impl Observed ===

impl Observed {
    /// What `identity` does about a Lease of this content, which is absent where there is none.
    pub(super) fn step(&mut self, lease: Option<&LeaseSpec>, identity: &str, now: Instant) -> Step {
        let holder = |lease: &LeaseSpec| lease.holder_identity.clone().filter(|h| !h.is_empty());
        let Some((lease, holder)) = lease.and_then(|lease| Some((lease, holder(lease)?))) else {
            self.0 = None;
            return Step::Take;
        };
        if holder == identity {
            return Step::Renew;
        }
        match &self.0 {
            Some((known, since)) if known == lease => {
                if now.saturating_duration_since(*since) >= DURATION {
                    Step::Take
                } else {
                    Step::Wait
                }
            }
            _ => {
                self.0 = Some((lease.clone(), now));
                Step::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lease(holder: &str, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_taken_when_nobody_has_it_or_its_holder_is_silent() {
        let (mut observed, start) = (Observed::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let table = [
            (0, None, Step::Take),
            (1, Some(lease("a", 1)), Step::Renew),
            (2, Some(lease("b", 2)), Step::Wait),
            (16, Some(lease("b", 2)), Step::Wait),
            (17, Some(lease("b", 2)), Step::Take),
            (18, Some(lease("b", 3)), Step::Wait),
            (32, Some(lease("b", 3)), Step::Wait),
            (33, Some(lease("", 3)), Step::Take),
            (34, Some(lease("b", 3)), Step::Wait),
            (40, Some(lease("b", 3)), Step::Wait),
        ];
        for (second, lease, expected) in table {
            let step = observed.step(lease.as_ref(), "a", at(second));
            assert_eq!(step, expected, "{second} s");
        }
    }
}
