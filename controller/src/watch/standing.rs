//! How an object stands: what its status says, as far as the controller writes it, and what is wrong with it.

use ambit_model::Str;
use serde_json::{Value, json};

use super::{Entries, Held, Kind, Problem};

/// The conditions that the controller writes. (protocol.md 10.3; `InForce` is Ambit's own.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ConditionType {
    InForce,
    Accepted,
    Programmed,
    ResolvedRefs,
    InsecureFrontendValidationMode,
    WaypointBound,
    WaypointMissing,
    ZtunnelAccepted,
    WaypointAccepted,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What it is about.
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: bool,
    /// Why, in a word.
    pub reason: Str,
    /// Why, for people.
    pub message: Str,
}

/// A condition as it stands in an object's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The condition.
    pub condition: Condition,
    /// The generation of the object that it is about.
    pub observed: Option<i64>,
    /// Since when its status has been what it is, in RFC 3339.
    pub since: Str,
}

/// How an object stands. One that is gone, or that has nothing of all this, stands like the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Counts changes of its spec; absent where the API server does not count them.
    pub generation: Option<i64>,
    /// The conditions that it has.
    pub present: Vec<Present>,
    /// The entries that it has.
    pub held: Held,
    /// What was found wrong when it was read.
    pub problems: Vec<Problem>,
}

/// What an object's status should say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Conditions of the object as a whole.
    pub conditions: Vec<Condition>,
    /// Entries; absent where the status is none of the controller's business.
    pub entries: Option<Entries>,
}

// === impl ConditionType ===

impl ConditionType {
    const ALL: [Self; 9] = [
        Self::InForce,
        Self::Accepted,
        Self::Programmed,
        Self::ResolvedRefs,
        Self::InsecureFrontendValidationMode,
        Self::WaypointBound,
        Self::WaypointMissing,
        Self::ZtunnelAccepted,
        Self::WaypointAccepted,
    ];

    /// The type as it is written in a status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InForce => "ambit.dev/Accepted",
            Self::Accepted => "Accepted",
            Self::Programmed => "Programmed",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::InsecureFrontendValidationMode => "InsecureFrontendValidationMode",
            Self::WaypointBound => "istio.io/WaypointBound",
            Self::WaypointMissing => "istio.io/WaypointMissing",
            Self::ZtunnelAccepted => "ZtunnelAccepted",
            Self::WaypointAccepted => "WaypointAccepted",
        }
    }

    /// Whether other controllers write conditions of this type as well.
    pub(crate) fn is_shared(self) -> bool {
        matches!(
            self,
            Self::Accepted
                | Self::Programmed
                | Self::ResolvedRefs
                | Self::InsecureFrontendValidationMode
        )
    }
}

// === impl Present ===

impl Present {
    /// The condition as it is written in a status.
    pub(crate) fn to_json(&self) -> Value {
        let Condition { kind, status, reason, message } = &self.condition;
        let mut value = json!({
            "type": kind.as_str(),
            "status": if *status { "True" } else { "False" },
            "reason": **reason,
            "message": **message,
            "lastTransitionTime": *self.since,
        });
        if let Some(generation) = self.observed {
            value["observedGeneration"] = generation.into();
        }
        value
    }

    /// Reads a condition; `None` for those of others, and for what nobody could have written here.
    fn read(value: &Value) -> Option<Self> {
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let kind =
            ConditionType::ALL.into_iter().find(|kind| text("type") == Some(kind.as_str()))?;
        let status = match text("status")? {
            "True" => true,
            "False" => false,
            _ => return None,
        };
        let shared = |field| Str::from(text(field).unwrap_or_default());
        let condition =
            Condition { kind, status, reason: shared("reason"), message: shared("message") };
        let observed = value.get("observedGeneration").and_then(Value::as_i64);
        Some(Self { condition, observed, since: shared("lastTransitionTime") })
    }
}

// === impl Standing ===

impl Standing {
    /// What the API server has of an object.
    pub(super) fn read(kind: Kind, value: &Value) -> Self {
        let list = value.pointer("/status/conditions").and_then(Value::as_array);
        let mut present: Vec<_> = list.into_iter().flatten().filter_map(Present::read).collect();
        present.sort_by_key(|p| p.condition.kind);
        let generation = value.pointer("/metadata/generation").and_then(Value::as_i64);
        Self { generation, present, held: Held::read(kind, value), problems: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_they_are_written() {
        for kind in ConditionType::ALL {
            let condition =
                Condition { kind, status: true, reason: "Good".into(), message: "It is.".into() };
            let since = Str::from("2026-01-01T00:00:00Z");
            let present = Present { condition, observed: Some(3), since };
            let object = json!({
                "metadata": {"generation": 4},
                "status": {"conditions": [
                    {"type": "Ready", "status": "True"},
                    {"type": kind.as_str(), "status": "Unknown"},
                    7,
                    present.to_json(),
                ]},
            });
            let expected =
                Standing { generation: Some(4), present: vec![present], ..Standing::default() };
            assert_eq!(Standing::read(Kind::Service, &object), expected);
        }
        let strange = json!({"metadata": [], "status": {"conditions": "none"}});
        assert_eq!(Standing::read(Kind::Service, &strange), Standing::default());
    }
}
