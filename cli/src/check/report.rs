//! What was found, for people and for machines.

use ambit_model::{Finding, Level};
use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use crate::terminal::{Style, Terminal};

/// Everything that was found, in order.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    checks: Vec<Entry>,
    /// Objects that would mend something.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    add: Vec<Value>,
}

/// A finding with its place.
#[derive(Debug, Serialize)]
struct Entry {
    /// The node; absent where it is about the whole cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(flatten)]
    finding: Finding,
}

// === impl Report ===

impl Report {
    /// Adds what was found about the cluster.
    pub(super) fn add(&mut self, finding: Finding) {
        self.checks.push(Entry { node: None, finding });
    }

    /// Adds what was found about a node.
    pub(super) fn add_of(&mut self, node: &str, findings: impl IntoIterator<Item = Finding>) {
        let entry = |finding| Entry { node: Some(node.to_owned()), finding };
        self.checks.extend(findings.into_iter().map(entry));
    }

    /// Adds an object that would mend something.
    pub(super) fn propose(&mut self, object: Value) {
        self.add.push(object);
    }

    /// How many checks there were.
    pub(super) fn len(&self) -> usize {
        self.checks.len()
    }

    /// How many of them are bad.
    pub(super) fn bad(&self) -> usize {
        self.checks.iter().filter(|entry| entry.finding.level == Level::Bad).count()
    }

    /// As one document.
    pub(super) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// One line for each check.
    pub(super) fn print(&self, terminal: Terminal) {
        let width = |length: fn(&Entry) -> usize| self.checks.iter().map(length).max().unwrap_or(0);
        let nodes = width(|entry| entry.place().chars().count());
        let names = width(|entry| entry.finding.check.chars().count());
        for entry in &self.checks {
            let (sign, style) = match entry.finding.level {
                Level::Good => ('✓', Style::Plain),
                Level::Warning => ('!', Style::Title),
                Level::Bad => ('✗', Style::Bad),
            };
            let Finding { check, found, next, .. } = &entry.finding;
            let next = next.as_deref().map(|next| format!(" → {next}")).unwrap_or_default();
            let line = format!("{sign} {:nodes$}  {check:names$}  {found}{next}", entry.place());
            terminal.line(style, &line);
        }
        for object in &self.add {
            // Strings and lists always print.
            let yaml = serde_saphyr::to_string(object).unwrap_or_default();
            terminal.line(Style::Command, &format!("---\n{}", yaml.trim_end()));
        }
    }
}

// === impl Entry ===

impl Entry {
    fn place(&self) -> &str {
        self.node.as_deref().unwrap_or("cluster")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn machines_get_all_of_it() {
        let mut report = Report::default();
        report.add(Finding::good("rights", "all"));
        report.add_of("node1", [Finding::bad("CNI", "none", "install one")]);
        assert_eq!((report.len(), report.bad()), (2, 1));
        let parsed: Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        let expected = json!({"checks": [
            {"check": "rights", "level": "good", "found": "all"},
            {"node": "node1", "check": "CNI", "level": "bad", "found": "none", "next": "install one"},
        ]});
        assert_eq!(parsed, expected);
    }
}
