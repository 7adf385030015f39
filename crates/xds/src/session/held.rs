//! The names and versions of the resources a client holds, compactly: a node may know 100,000 workloads.

use std::collections::HashMap;

use ambit_model::Str;

use crate::ResourceType;

/// The resources a client holds, by type and name, each with its version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    by_type: [HashMap<Str, Version>; ResourceType::ALL.len()],
}

/// A version as the control plane gave it. Those of Istio are 64-bit hashes in hexadecimal, which need no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Hash(u64),
    PaddedHash(u64),
    Text(Box<str>),
}

// === impl Held ===

impl Held {
    /// Records that `name` is held in `version`. An empty version makes the control plane send the resource again, or
    /// tell that it is gone: the right thing for a state that was kept without versions.
    pub fn insert(&mut self, kind: ResourceType, name: Str, version: &str) {
        self.of_mut(kind).insert(name, Version::new(version));
    }

    /// Forgets `name`.
    pub fn remove(&mut self, kind: ResourceType, name: &str) {
        self.of_mut(kind).remove(name);
    }

    /// Whether `name` is held.
    pub fn contains(&self, kind: ResourceType, name: &str) -> bool {
        self.of(kind).contains_key(name)
    }

    /// The shared string that `name` is recorded under.
    pub(crate) fn name(&self, kind: ResourceType, name: &str) -> Option<Str> {
        self.of(kind).get_key_value(name).map(|(name, _)| name.clone())
    }

    /// Every name with its version, in the form of the wire.
    pub(crate) fn versions(&self, kind: ResourceType) -> HashMap<String, String> {
        self.of(kind).iter().map(|(name, v)| (name.as_ref().to_owned(), v.to_string())).collect()
    }

    fn of(&self, kind: ResourceType) -> &HashMap<Str, Version> {
        &self.by_type[kind as usize]
    }

    fn of_mut(&mut self, kind: ResourceType) -> &mut HashMap<Str, Version> {
        &mut self.by_type[kind as usize]
    }
}

// === impl Version ===

impl Version {
    fn new(text: &str) -> Self {
        let exact = |version: Self| (version.to_string() == text).then_some(version);
        let hash = u64::from_str_radix(text, 16).ok();
        hash.and_then(|hash| exact(Self::Hash(hash)).or_else(|| exact(Self::PaddedHash(hash))))
            .unwrap_or_else(|| Self::Text(text.into()))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hash(hash) => write!(f, "{hash:x}"),
            Self::PaddedHash(hash) => write!(f, "{hash:016x}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_back_as_they_were_given() {
        for text in
            ["", "0", "1f", "00ff", "00000000000000ff", "ffffffffffffffff", "FF", "+1", "v7"]
        {
            assert_eq!(Version::new(text).to_string(), text);
        }
        assert_eq!(Version::new("ab12"), Version::Hash(0xab12));
        assert_eq!(Version::new("0000000000000001"), Version::PaddedHash(1));
    }
}
