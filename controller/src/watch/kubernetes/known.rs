//! What is known of a cluster, as a pure state: lists and events in, changes of objects out.
//!
//! The rules are those of files: an object that cannot be used keeps its last good version, except policies, which
//! close what they select. A list replaces everything of its kind, so what went while nobody watched is found gone.

use std::collections::{BTreeMap, BTreeSet};

use super::Trouble;
use crate::watch::{Change, Key, Kind, Object, Problem, Report, Standing, Update};

/// An object as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Read {
    pub(super) key: Key,
    /// The object, where it is good; or what has to be enforced in place of a policy that is not.
    pub(super) object: Option<Object>,
    pub(super) problems: Vec<Problem>,
    /// How it stands, without `problems`; absent for kinds that cannot say so.
    pub(super) standing: Option<Standing>,
}

/// What happens in a cluster.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// Everything of a kind.
    Listed(Kind, Vec<Read>),
    /// An object is new, or has changed.
    Applied(Read),
    /// An object is gone.
    Gone(Key),
    /// A kind cannot be followed; what is known of it stays in force.
    Troubled(Kind, Trouble),
    /// A kind is followed again, from where it was left.
    Recovered(Kind),
}

/// What is known.
#[derive(Debug)]
pub(super) struct Known {
    objects: BTreeMap<Key, Object>,
    problems: BTreeMap<Key, Vec<Problem>>,
    troubles: BTreeMap<Kind, Trouble>,
    /// Kinds of which it is not known yet whether there are any.
    awaited: BTreeSet<Kind>,
}

// === impl Known ===

impl Known {
    pub(super) fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self {
            objects: BTreeMap::new(),
            problems: BTreeMap::new(),
            troubles: BTreeMap::new(),
            awaited: kinds.into_iter().collect(),
        }
    }

    /// Rights that are missing and without which nothing can be published.
    pub(super) fn missing_rights(&self) -> Vec<Report> {
        let missing = |kind: &&Kind| self.troubles.get(kind) == Some(&Trouble::Forbidden);
        self.awaited.iter().filter(missing).map(|kind| Trouble::Forbidden.report(*kind)).collect()
    }

    /// Whether every kind has been listed, or the state may do without it.
    pub(super) fn is_complete(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Takes an event in and adds what follows to `update`. Tells whether reports are others now, or the state has become complete.
    pub(super) fn take(&mut self, event: Event, update: &mut Update) -> bool {
        match event {
            Event::Listed(kind, list) => {
                let was_awaited = self.awaited.remove(&kind);
                let recovered = self.troubles.remove(&kind).is_some();
                self.listed(kind, list, update) | was_awaited | recovered
            }
            Event::Applied(read) => self.applied(read, update),
            Event::Gone(key) => self.gone(key, update),
            Event::Troubled(kind, trouble) => {
                let settled = trouble.settles(kind) && self.awaited.remove(&kind);
                let old = self.troubles.insert(kind, trouble);
                settled || old.as_ref() != self.troubles.get(&kind)
            }
            Event::Recovered(kind) => self.troubles.remove(&kind).is_some(),
        }
    }

    /// Everything that is wrong.
    pub(super) fn reports(&self) -> Vec<Report> {
        let troubles = self.troubles.iter().map(|(kind, trouble)| trouble.report(*kind));
        let problems = self.problems.iter().flat_map(|(key, problems)| {
            problems.iter().map(|problem| Report {
                location: None,
                subject: key.to_string(),
                problem: problem.clone(),
            })
        });
        troubles.chain(problems).collect()
    }

    fn listed(&mut self, kind: Kind, list: Vec<Read>, update: &mut Update) -> bool {
        let present: BTreeSet<Key> = list.iter().map(|read| read.key.clone()).collect();
        let first = Key::new(kind, "", "");
        let known = self.objects.range(&first..).map(|(key, _)| key);
        let wrong = self.problems.range(&first..).map(|(key, _)| key);
        let gone: BTreeSet<Key> = known
            .take_while(|key| key.kind == kind)
            .chain(wrong.take_while(|key| key.kind == kind))
            .filter(|key| !present.contains(*key))
            .cloned()
            .collect();
        let mut news = false;
        for key in gone {
            news |= self.gone(key, update);
        }
        for read in list {
            news |= self.applied(read, update);
        }
        news
    }

    fn applied(&mut self, read: Read, update: &mut Update) -> bool {
        let Read { key, object, mut problems, standing } = read;
        match object {
            Some(object) if self.objects.get(&key) == Some(&object) => {}
            Some(object) => {
                self.objects.insert(key.clone(), object.clone());
                update.changes.push(Change { key: key.clone(), object: Some(object) });
            }
            None if self.objects.contains_key(&key) && !problems.is_empty() => {
                Problem::conclude(&mut problems, "its last good version stays in force");
            }
            None => {}
        }
        if let Some(standing) = standing {
            let problems = problems.clone();
            update.standings.push((key.clone(), Standing { problems, ..standing }));
        }
        if problems.is_empty() {
            return self.problems.remove(&key).is_some();
        }
        let old = self.problems.insert(key.clone(), problems);
        old.as_ref() != self.problems.get(&key)
    }

    fn gone(&mut self, key: Key, update: &mut Update) -> bool {
        let news = self.problems.remove(&key).is_some();
        if key.kind.has_status() {
            update.standings.push((key.clone(), Standing::default()));
        }
        if self.objects.remove(&key).is_some() {
            update.changes.push(Change { key, object: None });
        }
        news
    }
}

#[cfg(test)]
mod tests;
