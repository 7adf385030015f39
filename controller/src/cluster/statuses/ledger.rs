//! Which objects have to be written, and what. Pure; time is passed in.
//!
//! Only objects that say something, should say something or have a generation are kept.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::cluster::FIELD_MANAGER;
use ambit_model::Str;
use serde_json::{Map, Value};

use crate::watch::{ConditionType, Key, Kind, Present, Problem, Standing, Wanted};

/// What is wanted and what is there.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    standings: BTreeMap<Key, Standing>,
    /// What objects should say that do not say it.
    pending: BTreeMap<Key, Wanted>,
}

/// What one field manager should own in an object's status.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Write {
    pub(super) manager: &'static str,
    pub(super) conditions: Vec<Present>,
    /// Fields besides the conditions.
    pub(super) fields: Map<String, Value>,
    /// The version of the object that the fields are for, where they hold entries of others too.
    pub(super) version: Option<Str>,
}

// === impl Ledger ===

impl Ledger {
    /// How the object stands from now on.
    pub(super) fn stand(&mut self, key: &Key, standing: Standing) {
        if standing == Standing::default() {
            self.standings.remove(key);
        } else {
            self.standings.insert(key.clone(), standing);
        }
    }

    /// What was found wrong with an object when it was read.
    pub(super) fn problems(&self, key: &Key) -> &[Problem] {
        self.standings.get(key).map(|standing| &standing.problems[..]).unwrap_or_default()
    }

    /// What the object should say from now on.
    pub(super) fn want(&mut self, key: &Key, wanted: Wanted) {
        let nothing = Standing::default();
        let standing = self.standings.get(key).unwrap_or(&nothing);
        if is_so(standing, &wanted) {
            self.pending.remove(key);
        } else {
            self.pending.insert(key.clone(), wanted);
        }
    }

    /// The next object to write, in turn after `last`, among those of `open` kinds.
    pub(super) fn next(
        &self,
        last: Option<&Key>,
        open: impl Fn(Kind) -> bool,
        now: &str,
    ) -> Option<(Key, Vec<Write>)> {
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.pending.range((after, Bound::Unbounded));
        let (key, wanted) = rest.chain(&self.pending).find(|(key, _)| open(key.kind))?;
        let nothing = Standing::default();
        let standing = self.standings.get(key).unwrap_or(&nothing);
        Some((key.clone(), writes(key.kind, standing, wanted, now)))
    }

    /// The object says this now. What the API server tells about it later counts instead.
    pub(super) fn written(&mut self, key: &Key, write: &Write) {
        let mut standing = self.standings.remove(key).unwrap_or_default();
        standing.present.retain(|p| manager(key.kind, p.condition.kind) != write.manager);
        standing.present.extend(write.conditions.iter().cloned());
        standing.present.sort_by_key(|p| p.condition.kind);
        standing.held.written(&write.fields);
        self.stand(key, standing);
        if let Some(wanted) = self.pending.remove(key) {
            self.want(key, wanted);
        }
    }

    /// `write` cannot be done, and nothing else before something changes: unless the object is another one by now.
    pub(super) fn give_up(&mut self, key: &Key, write: &Write) {
        let version = self.standings.get(key).and_then(|standing| standing.held.version());
        if version == write.version.as_ref() {
            self.pending.remove(key);
        }
    }

    /// How many objects have to be written.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }
}

/// Whether the object says just what is wanted, of its present generation.
fn is_so(standing: &Standing, wanted: &Wanted) -> bool {
    let Standing { generation, present, held, .. } = standing;
    let Wanted { conditions, entries } = wanted;
    let asked_for = |kind| conditions.iter().any(|c| c.kind == kind);
    // Where none of those that are shared is the controller's, the object is somebody else's.
    let theirs = !conditions.iter().any(|c| c.kind.is_shared());
    let left = |kind: ConditionType| theirs && kind.is_shared();
    present.iter().all(|p| left(p.condition.kind) || asked_for(p.condition.kind))
        && conditions.iter().all(|condition| {
            present.iter().any(|p| p.condition == *condition && p.observed == *generation)
        })
        && entries.as_ref().is_none_or(|entries| entries.are_in(held, *generation))
}

/// What makes the object say what is wanted: for each field manager that has something to change, all that it should
/// own. Those that only take away come first, for some CRDs keep conditions as one list that the last writer owns.
fn writes(kind: Kind, standing: &Standing, wanted: &Wanted, now: &str) -> Vec<Write> {
    let Standing { generation, present, held, .. } = standing;
    let of = |manager: &'static str| {
        let own = |kind_of: ConditionType| self::manager(kind, kind_of) == manager;
        let conditions = wanted.conditions.iter().filter(|c| own(c.kind)).cloned().collect();
        let wanted = Wanted { conditions, entries: wanted.entries.clone() };
        let present = present.iter().filter(|p| own(p.condition.kind)).cloned().collect();
        let own = Standing {
            present,
            held: held.clone(),
            generation: *generation,
            ..Standing::default()
        };
        let conditions = wanted.conditions.iter().map(|condition| Present {
            condition: condition.clone(),
            observed: *generation,
            since: since(&own, condition).unwrap_or(now).into(),
        });
        let fields = wanted.entries.as_ref().map(|e| e.to_json(held, *generation, now));
        (!is_so(&own, &wanted)).then(|| Write {
            manager,
            conditions: conditions.collect(),
            fields: fields.unwrap_or_default(),
            version: held.version().cloned(),
        })
    };
    let mut writes: Vec<Write> = managers(kind).iter().filter_map(|manager| of(manager)).collect();
    writes.sort_by_key(|write| !write.conditions.is_empty());
    writes
}

/// Since when the condition has had the status that it has.
fn since<'a>(standing: &'a Standing, condition: &crate::watch::Condition) -> Option<&'a str> {
    let same =
        |p: &&Present| (p.condition.kind, p.condition.status) == (condition.kind, condition.status);
    standing.present.iter().find(same).map(|p| &*p.since).filter(|since| !since.is_empty())
}

/// Who owns conditions in the status of objects of `kind`. (protocol.md 10.3.)
fn managers(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::AuthorizationPolicy => {
            &["istio-ambient-ztunnel-policy", "istio-ambient-waypoint-policy"]
        }
        Kind::Service | Kind::ServiceEntry => &["istio-ambient-service"],
        Kind::WorkloadEntry => &["istio-ambient-workloadentry"],
        _ => &[FIELD_MANAGER],
    }
}

/// Who owns a condition.
fn manager(kind: Kind, condition: ConditionType) -> &'static str {
    match (managers(kind), condition) {
        ([_, waypoint], ConditionType::WaypointAccepted) => waypoint,
        ([first, ..], _) => first,
        ([], _) => FIELD_MANAGER,
    }
}

#[cfg(test)]
mod tests;
