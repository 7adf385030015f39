//! Which namespaces have a true copy of the roots. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;

/// What was seen.
#[derive(Debug)]
pub(super) enum Seen {
    /// A list of namespaces begins.
    NamespacesBegin,
    /// A namespace that is listed.
    NamespaceListed(String),
    /// A list of namespaces is complete.
    NamespacesEnd,
    /// A namespace that is there.
    Namespace(String),
    /// A namespace that is gone or going.
    NamespaceGone(String),
    /// A list of copies begins.
    CopiesBegin,
    /// A list of copies is complete.
    CopiesEnd,
    /// A copy in a namespace, and what it says.
    Copy(String, Option<String>),
    /// A copy that is gone.
    CopyGone(String),
    /// Nothing of interest.
    Nothing,
}

/// The namespaces, and those that have a true copy.
#[derive(Debug)]
pub(super) struct Copies {
    wanted: Arc<str>,
    namespaces: BTreeSet<String>,
    listing: BTreeSet<String>,
    good: BTreeSet<String>,
    /// Whether namespaces and copies have been listed: before that, nobody knows what is missing.
    listed: (bool, bool),
}

// === impl Seen ===

impl Seen {
    pub(super) fn namespace(event: watcher::Event<PartialObjectMeta<Namespace>>) -> Self {
        let name = |object: &PartialObjectMeta<Namespace>| object.metadata.name.clone();
        let going =
            |object: &PartialObjectMeta<Namespace>| object.metadata.deletion_timestamp.is_some();
        match event {
            watcher::Event::Init => Self::NamespacesBegin,
            watcher::Event::InitDone => Self::NamespacesEnd,
            watcher::Event::InitApply(object) if going(&object) => Self::Nothing,
            watcher::Event::InitApply(object) => {
                name(&object).map_or(Self::Nothing, Self::NamespaceListed)
            }
            watcher::Event::Apply(object) if !going(&object) => {
                name(&object).map_or(Self::Nothing, Self::Namespace)
            }
            watcher::Event::Apply(object) | watcher::Event::Delete(object) => {
                name(&object).map_or(Self::Nothing, Self::NamespaceGone)
            }
        }
    }

    pub(super) fn copy(event: watcher::Event<ConfigMap>, key: &str) -> Self {
        let namespace = |object: &ConfigMap| object.metadata.namespace.clone();
        match event {
            watcher::Event::Init => Self::CopiesBegin,
            watcher::Event::InitDone => Self::CopiesEnd,
            watcher::Event::InitApply(mut object) | watcher::Event::Apply(mut object) => {
                let content = object.data.as_mut().and_then(|data| data.remove(key));
                namespace(&object).map_or(Self::Nothing, |name| Self::Copy(name, content))
            }
            watcher::Event::Delete(object) => {
                namespace(&object).map_or(Self::Nothing, Self::CopyGone)
            }
        }
    }
}

// === impl Copies ===

impl Copies {
    pub(super) fn new(wanted: Arc<str>) -> Self {
        Self {
            wanted,
            namespaces: BTreeSet::new(),
            listing: BTreeSet::new(),
            good: BTreeSet::new(),
            listed: (false, false),
        }
    }

    pub(super) fn wanted(&self) -> &str {
        &self.wanted
    }

    /// The roots are others now.
    pub(super) fn want(&mut self, roots: Arc<str>) {
        if self.wanted != roots {
            self.wanted = roots;
            self.good.clear();
        }
    }

    pub(super) fn see(&mut self, seen: Seen) {
        match seen {
            Seen::NamespacesBegin => self.listing.clear(),
            Seen::NamespaceListed(name) => {
                self.listing.insert(name);
            }
            Seen::NamespacesEnd => {
                self.namespaces = std::mem::take(&mut self.listing);
                self.listed.0 = true;
            }
            Seen::Namespace(name) => {
                self.namespaces.insert(name);
            }
            Seen::NamespaceGone(name) => {
                self.namespaces.remove(&name);
                self.good.remove(&name);
            }
            Seen::CopiesBegin => {
                self.good.clear();
                self.listed.1 = false;
            }
            Seen::CopiesEnd => self.listed.1 = true,
            Seen::Copy(namespace, content) => {
                if content.as_deref() == Some(&self.wanted) {
                    self.good.insert(namespace);
                } else {
                    self.good.remove(&namespace);
                }
            }
            Seen::CopyGone(namespace) => {
                self.good.remove(&namespace);
            }
            Seen::Nothing => {}
        }
    }

    /// The namespaces that need a copy, or a new one.
    pub(super) fn to_write(&self) -> Vec<String> {
        match self.listed {
            (true, true) => self.namespaces.difference(&self.good).cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// A true copy was written.
    pub(super) fn written(&mut self, namespace: String) {
        self.good.insert(namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(namespace: &str, content: &str) -> Seen {
        Seen::Copy(namespace.to_owned(), Some(content.to_owned()))
    }

    fn listed(namespaces: &[&str], copies: Vec<Seen>) -> Copies {
        let mut state = Copies::new("roots".into());
        state.see(Seen::NamespacesBegin);
        state.see(Seen::CopiesBegin);
        for name in namespaces {
            state.see(Seen::NamespaceListed((*name).to_owned()));
        }
        copies.into_iter().for_each(|copy| state.see(copy));
        state.see(Seen::NamespacesEnd);
        assert_eq!(state.to_write(), Vec::<String>::new(), "copies are not all known yet");
        state.see(Seen::CopiesEnd);
        state
    }

    #[test]
    fn every_namespace_without_a_true_copy_gets_one() {
        let copies = vec![copy("a", "roots"), copy("b", "old"), Seen::Copy("c".to_owned(), None)];
        let mut state = listed(&["a", "b", "c", "d"], copies);
        assert_eq!(state.to_write(), ["b", "c", "d"]);
        ["b", "c", "d"].iter().for_each(|name| state.written((*name).to_owned()));
        assert!(state.to_write().is_empty());

        state.see(copy("a", "forged"));
        state.see(Seen::CopyGone("b".to_owned()));
        state.see(Seen::Namespace("e".to_owned()));
        state.see(Seen::NamespaceGone("d".to_owned()));
        assert_eq!(state.to_write(), ["a", "b", "e"]);
    }

    #[test]
    fn new_roots_go_everywhere() {
        let mut state = listed(&["a"], vec![copy("a", "roots")]);
        assert!(state.to_write().is_empty());
        state.want("roots".into());
        assert!(state.to_write().is_empty());
        state.want("new roots".into());
        assert_eq!(state.to_write(), ["a"]);
    }

    #[test]
    fn a_new_list_forgets_what_it_does_not_hold() {
        let mut state = listed(&["a", "b"], vec![copy("a", "roots"), copy("b", "roots")]);
        state.see(Seen::NamespacesBegin);
        state.see(Seen::NamespaceListed("b".to_owned()));
        state.see(Seen::NamespacesEnd);
        state.see(Seen::CopiesBegin);
        state.see(Seen::CopiesEnd);
        assert_eq!(state.to_write(), ["b"]);
    }
}
