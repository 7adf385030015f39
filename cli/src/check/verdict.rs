//! What facts about the cluster mean for the mesh. Pure.

use std::time::{Duration, SystemTime};

use ambit_model::Finding;
use anyhow::{Context as _, Result};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// The first version with everything that the manifests use (maxSurge in DaemonSets, services that stay on the node).
const OLDEST: (u32, u32) = (1, 26);

/// How many missing rights are named.
const NAMED: usize = 4;

/// A right that the user may have or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Right {
    /// What may be done.
    pub(super) verb: &'static str,
    /// The API group; empty for the core.
    pub(super) group: String,
    /// The kind's plural.
    pub(super) resource: String,
    /// The namespace; absent where the kind has none.
    pub(super) namespace: Option<String>,
}

// === impl Right ===

impl Right {
    fn describe(&self) -> String {
        let Self { verb, resource, .. } = self;
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        match &self.namespace {
            Some(namespace) => format!("{verb} {resource}{group} in {namespace}"),
            None => format!("{verb} {resource}{group}"),
        }
    }
}

/// The API server's version, as it says it.
pub(super) fn version(major: &str, minor: &str, full: &str) -> Finding {
    let check = "Kubernetes";
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok();
    match (number(major), number(minor)) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => Finding::good(check, full),
        _ => Finding::bad(check, full, format!("update to {}.{} or newer", OLDEST.0, OLDEST.1)),
    }
}

/// Which of `all` rights are `missing`.
pub(super) fn rights(all: usize, missing: &[Right]) -> Finding {
    let check = "your rights";
    let named: Vec<String> = missing.iter().take(NAMED).map(Right::describe).collect();
    let list = match missing.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{}, and {more} more", named.join(", ")),
    };
    match missing {
        [] => Finding::good(check, format!("all {all} that installing takes")),
        // Somebody who has every right that a role gives may make it all the same.
        _ if missing.iter().all(|right| right.verb == "escalate") => Finding::warning(
            check,
            format!("you may not {list}"),
            "install as a cluster's administrator, unless you have all rights of the roles yourself",
        ),
        _ => Finding::bad(
            check,
            format!("you may not {list}"),
            "install as a cluster's administrator (ClusterRole cluster-admin)",
        ),
    }
}

/// `groups` are the names of all API groups.
pub(super) fn gateway_api(groups: &[String]) -> Finding {
    let check = "Gateway API";
    match groups.iter().any(|group| group == "gateway.networking.k8s.io") {
        true => Finding::good(check, "installed"),
        false => Finding::good(check, "not installed; only gateways and waypoints need it"),
    }
}

/// The time by which the API server answered, which its `Date` says in whole seconds.
pub(super) fn date(header: &str) -> Result<SystemTime> {
    let date = OffsetDateTime::parse(header, &Rfc2822)
        .with_context(|| format!("the API server's date {header:?}"))?;
    Ok(SystemTime::from(date) + Duration::from_millis(500))
}

#[cfg(test)]
mod tests {
    use ambit_model::Level::{self, Bad, Good, Warning};

    use super::*;

    fn expect(finding: &Finding, level: Level, words: &str) {
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.found.contains(words), "{finding:?}");
        assert_eq!(finding.next.is_none(), level == Good, "{finding:?}");
    }

    #[test]
    fn versions() {
        for (major, minor, level) in [
            ("1", "35", Good),
            ("1", "26+", Good),
            ("1", "25", Bad),
            ("1", "9", Bad),
            ("2", "0", Good),
            ("", "", Bad),
        ] {
            let full = format!("v{major}.{minor}.0");
            expect(&version(major, minor, &full), level, &full);
        }
    }

    #[test]
    fn missing_rights_are_named() {
        let right = |verb, group: &str, resource: &str, namespace: Option<&str>| Right {
            verb,
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
        };
        let create = right("create", "apps", "daemonsets", Some("mesh"));
        let escalate = right("escalate", "rbac.authorization.k8s.io", "clusterroles", None);
        expect(&rights(7, &[]), Good, "all 7");
        expect(&rights(7, std::slice::from_ref(&create)), Bad, "create daemonsets.apps in mesh");
        expect(&rights(7, std::slice::from_ref(&escalate)), Warning, "escalate clusterroles.rbac");
        expect(&rights(7, &[escalate, create]), Bad, ", create daemonsets.apps in mesh");
        let many = vec![right("get", "", "pods", None); 6];
        expect(&rights(7, &many), Bad, "get pods, and 2 more");
        expect(&rights(1, &[right("patch", "", "services", None)]), Bad, "patch services");
    }

    #[test]
    fn dates_and_groups() {
        let at = date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let expected = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500);
        assert_eq!(at, expected);
        assert!(date("yesterday").is_err());
        expect(
            &gateway_api(&["apps".into(), "gateway.networking.k8s.io".into()]),
            Good,
            "installed",
        );
        expect(&gateway_api(&["apps".into()]), Good, "not installed");
    }
}
