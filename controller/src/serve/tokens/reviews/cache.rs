//! What the API server has said, for a minute. Tokens themselves are not kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::verdict::Bearer;

/// How long an answer counts.
const LIFETIME: Duration = Duration::from_secs(60);
/// More than the proxies of a large mesh that ask in one minute.
const MOST: usize = 16 * 1024;

/// SHA-256 of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; SHA256_OUTPUT_LEN]);

/// Answers that still count.
#[derive(Debug, Default)]
pub(super) struct Cache(HashMap<Digest, (Arc<Bearer>, Instant)>);

// === impl Digest ===

impl Digest {
    pub(super) fn of(token: &str) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }
}

// === impl Cache ===

impl Cache {
    pub(super) fn get(&self, digest: &Digest, now: Instant) -> Option<Arc<Bearer>> {
        let (bearer, since) = self.0.get(digest)?;
        (now.saturating_duration_since(*since) < LIFETIME).then(|| bearer.clone())
    }

    pub(super) fn insert(&mut self, digest: Digest, bearer: Arc<Bearer>, now: Instant) {
        if self.0.len() >= MOST {
            self.0.retain(|_, (_, since)| now.saturating_duration_since(*since) < LIFETIME);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(digest, (bearer, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_for_a_minute_and_are_bounded() {
        let bearer = Arc::new(Bearer::default());
        let (mut cache, now) = (Cache::default(), Instant::now());
        let token = |i: usize| Digest::of(&i.to_string());
        cache.insert(token(0), bearer.clone(), now);
        assert!(cache.get(&token(0), now + LIFETIME - Duration::from_millis(1)).is_some());
        assert!(cache.get(&token(0), now + LIFETIME).is_none());
        assert!(cache.get(&token(1), now).is_none());

        let later = now + LIFETIME;
        (1..MOST).for_each(|i| cache.insert(token(i), bearer.clone(), later));
        cache.insert(token(MOST), bearer.clone(), later);
        assert_eq!(cache.0.len(), MOST, "the one that counts no more has made room");
        cache.insert(token(MOST + 1), bearer, later);
        assert_eq!(cache.0.len(), 1);
    }
}
