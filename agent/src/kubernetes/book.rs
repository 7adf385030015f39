//! The pods of this node and what is wanted of each: pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::runtime::watcher::Event;

use super::membership::{Exclusions, Membership};
use super::view::PodView;

/// What is wanted of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// It has to be captured, as described.
    Join(Arc<PodView>),
    /// It lives on without the mesh.
    Leave(Arc<PodView>),
    /// It has ended, or is no more.
    Gone,
}

/// Objects of one kind, by their keys, kept by a watch.
#[derive(Debug)]
pub(crate) struct Mirror<T> {
    live: BTreeMap<String, T>,
    /// What a list that is under way has brought so far.
    next: BTreeMap<String, T>,
    complete: bool,
}

/// Everything that decides about membership.
#[derive(Debug)]
pub(crate) struct Book {
    exclusions: Exclusions,
    pods: Mirror<Arc<PodView>>,
    /// The label `istio.io/dataplane-mode` of each namespace that has one.
    namespaces: Mirror<String>,
}

// === impl Mirror ===

impl<T> Default for Mirror<T> {
    fn default() -> Self {
        Self { live: BTreeMap::new(), next: BTreeMap::new(), complete: false }
    }
}

impl<T> Mirror<T> {
    /// Takes in an event. `read` gives an object's key and what is kept of it; without the latter it is as if absent.
    pub(crate) fn take_in<K>(
        &mut self,
        event: Event<K>,
        read: impl Fn(&K) -> Option<(String, Option<T>)>,
    ) {
        match event {
            Event::Init => self.next.clear(),
            Event::InitApply(object) => {
                if let Some((key, Some(value))) = read(&object) {
                    self.next.insert(key, value);
                }
            }
            Event::InitDone => {
                self.live = std::mem::take(&mut self.next);
                self.complete = true;
            }
            Event::Apply(object) => match read(&object) {
                Some((key, Some(value))) => drop(self.live.insert(key, value)),
                Some((key, None)) => drop(self.live.remove(&key)),
                None => {}
            },
            Event::Delete(object) => {
                if let Some((key, _)) = read(&object) {
                    self.live.remove(&key);
                }
            }
        }
    }
}

// === impl Book ===

impl Book {
    /// Knows nothing yet.
    pub(crate) fn new(exclusions: Exclusions) -> Self {
        Self { exclusions, pods: Mirror::default(), namespaces: Mirror::default() }
    }

    /// The pods.
    pub(crate) fn pods_mut(&mut self) -> &mut Mirror<Arc<PodView>> {
        &mut self.pods
    }

    /// The namespaces.
    pub(crate) fn namespaces_mut(&mut self) -> &mut Mirror<String> {
        &mut self.namespaces
    }

    /// Whether all pods and namespaces are known; before, nothing follows from one that is absent.
    pub(crate) fn is_complete(&self) -> bool {
        self.pods.complete && self.namespaces.complete
    }

    /// What is wanted of each pod that there is.
    pub(crate) fn wants(&self) -> BTreeMap<String, Want> {
        let want = |pod: &Arc<PodView>| match self.membership(pod) {
            _ if pod.terminal => Want::Gone,
            Membership::Member => Want::Join(pod.clone()),
            Membership::Outside(_) => Want::Leave(pod.clone()),
        };
        self.pods.live.iter().map(|(uid, pod)| (uid.clone(), want(pod))).collect()
    }

    /// The namespaces that the mesh has pods in, or will: labelled ones, and those of this node's members.
    pub(crate) fn mesh_namespaces(&self) -> Vec<String> {
        let labelled = self
            .namespaces
            .live
            .iter()
            .filter(|(_, mode)| *mode == "ambient")
            .map(|(name, _)| name);
        let members = self.pods.live.values().filter(|pod| self.membership(pod).is_member());
        let mut names: Vec<String> =
            labelled.chain(members.map(|pod| &pod.namespace)).cloned().collect();
        names.retain(|name| !self.exclusions.namespaces.contains(name));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The pod of that namespace and name, and whether it is in the mesh.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<(Arc<PodView>, Membership)> {
        let is_it = |pod: &&Arc<PodView>| pod.namespace == namespace && pod.name == name;
        let pod = self.pods.live.values().find(is_it)?;
        Some((pod.clone(), self.membership(pod)))
    }

    fn membership(&self, pod: &PodView) -> Membership {
        let mode = self.namespaces.live.get(&pod.namespace).map(String::as_str);
        Membership::decide(pod, mode, &self.exclusions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, namespace: &str, terminal: bool) -> Arc<PodView> {
        let (uid, namespace) = (uid.to_owned(), namespace.to_owned());
        Arc::new(PodView {
            name: format!("{uid}-name"),
            uid,
            namespace,
            terminal,
            ..PodView::default()
        })
    }

    fn take_pod(book: &mut Book, event: Event<Arc<PodView>>) {
        book.pods_mut().take_in(event, |pod| Some((pod.uid.clone(), Some(pod.clone()))));
    }

    fn label(book: &mut Book, event: Event<(&str, &str)>) {
        book.namespaces_mut().take_in(event, |(name, mode)| {
            Some(((*name).to_owned(), (!mode.is_empty()).then(|| (*mode).to_owned())))
        });
    }

    fn wants(book: &Book) -> String {
        let word = |want: &Want| match want {
            Want::Join(_) => "join",
            Want::Leave(_) => "leave",
            Want::Gone => "gone",
        };
        let wants = book.wants();
        let words: Vec<_> =
            wants.iter().map(|(uid, want)| format!("{uid} {}", word(want))).collect();
        words.join(", ")
    }

    #[test]
    fn labels_decide_once_everything_is_known() {
        let mut book = Book::new(Exclusions::default());
        for event in [
            Event::Init,
            Event::InitApply(pod("a", "shop", false)),
            Event::InitApply(pod("b", "shop", true)),
            Event::InitApply(pod("c", "bank", false)),
            Event::InitDone,
        ] {
            take_pod(&mut book, event);
        }
        assert!(!book.is_complete());
        for event in [Event::Init, Event::InitApply(("shop", "ambient")), Event::InitDone] {
            label(&mut book, event);
        }
        assert!(book.is_complete());
        assert_eq!(wants(&book), "a join, b gone, c leave");
        assert_eq!(book.mesh_namespaces(), ["shop"]);

        label(&mut book, Event::Apply(("bank", "ambient")));
        label(&mut book, Event::Apply(("kube-system", "ambient")));
        assert_eq!(wants(&book), "a join, b gone, c join");
        assert_eq!(book.mesh_namespaces(), ["bank", "shop"]);
        label(&mut book, Event::Apply(("shop", "")));
        assert_eq!(wants(&book), "a leave, b gone, c join");
        let (found, membership) = book.find("bank", "c-name").unwrap();
        assert_eq!((found.uid.as_str(), membership), ("c", Membership::Member));
        assert_eq!(book.find("shop", "c-name"), None);
    }

    #[test]
    fn a_list_replaces_what_was_known_when_it_is_whole() {
        let mut book = Book::new(Exclusions::default());
        for event in [Event::Init, Event::InitApply(pod("a", "shop", false)), Event::InitDone] {
            take_pod(&mut book, event);
        }
        take_pod(&mut book, Event::Init);
        take_pod(&mut book, Event::InitApply(pod("b", "shop", false)));
        assert_eq!(wants(&book), "a leave");
        take_pod(&mut book, Event::InitDone);
        assert_eq!(wants(&book), "b leave");
        take_pod(&mut book, Event::Delete(pod("b", "shop", false)));
        assert_eq!(wants(&book), "");
    }
}
