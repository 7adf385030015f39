//! What it means that a status could not be written. Pure.

use crate::watch::{Kind, api_error};

/// Why a status was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The object is no longer there.
    Gone,
    /// The cluster does not serve the kind in this version, or without a status of its own.
    NotServed,
    /// The controller may not.
    Forbidden(String),
    /// The API server does not take this content; it would not take it a second time.
    Refused(String),
    /// The object has changed meanwhile; the watch tells how.
    Changed,
    /// The API server cannot be reached or is busy.
    Unreachable(String),
}

// === impl Failure ===

impl Failure {
    pub(super) fn of(error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else { return Self::Unreachable(api_error(error)) };
        let named = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
        match status.code {
            404 if named => Self::Gone,
            404 => Self::NotServed,
            409 => Self::Changed,
            403 => Self::Forbidden(status.message.clone()),
            400 | 405 | 415 | 422 => Self::Refused(api_error(error)),
            _ => Self::Unreachable(api_error(error)),
        }
    }

    /// The value of the metric label `outcome`.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::NotServed => "not_served",
            Self::Forbidden(_) => "forbidden",
            Self::Refused(_) => "refused",
            Self::Changed => "changed",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// The line about it, the same for all objects of a kind.
    pub(super) fn complaint(&self, kind: Kind) -> String {
        let (group, plural) = (kind.group(), kind.plural());
        let what = format!("{}: statuses cannot be written", kind.as_str());
        match self {
            Self::Gone => format!("{what}: the object is gone"),
            Self::Changed => format!("{what}: the object has changed"),
            Self::NotServed => format!(
                "{what}: the cluster serves no status of {plural}; add subresources: {{status: {{}}}} to each version of the CRD"
            ),
            Self::Forbidden(why) => format!(
                "{what}; add to the controller's ClusterRole: apiGroups: [{group:?}], resources: [\"{plural}/status\"], verbs: [\"patch\"]; the API server says: {why}"
            ),
            Self::Refused(why) | Self::Unreachable(why) => {
                format!("{what}: {why}; this is tried again")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_answer_has_its_meaning() {
        let error = |code, name: &str| {
            let body = json!({"code": code, "message": "no", "details": {"name": name}});
            let status: Status = serde_json::from_value(body).unwrap();
            Failure::of(&kube::Error::Api(Box::new(status)))
        };
        let table = [
            (404, "p", "gone"),
            (404, "", "not_served"),
            (403, "p", "forbidden"),
            (422, "p", "refused"),
            (409, "p", "changed"),
            (429, "", "unreachable"),
            (503, "", "unreachable"),
        ];
        for (code, name, expected) in table {
            assert_eq!(error(code, name).reason(), expected, "{code}");
        }
        let forbidden = error(403, "p").complaint(Kind::Service);
        assert!(
            forbidden
                .contains(r#"apiGroups: [""], resources: ["services/status"], verbs: ["patch"]"#),
            "{forbidden}"
        );
    }
}
