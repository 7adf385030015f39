//! Whether one policy matches one request.

use std::net::IpAddr;

use ambit_model::{
    PathMatch, PathTemplate, RequestAction, RequestCondition, RequestOperation, RequestPolicy,
    RequestRule, RequestSource, ServiceAccountMatch, StringMatch, TemplateSegment, Terms,
};
use ipnet::IpNet;

use super::{HeaderValues, RequestFacts};
use crate::matching::{account_matches, principal_matches, string_matches};

/// What several ways to read a request mean for a policy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// It matches where any of them does.
    Any,
    /// It matches where all of them do.
    All,
}

/// Whether `policy` matches the request. Addresses of `facts` are canonical.
pub(super) fn matches(policy: &RequestPolicy, facts: &RequestFacts<'_>) -> bool {
    let reading = match policy.action {
        RequestAction::Allow => Reading::All,
        RequestAction::Deny | RequestAction::Audit | RequestAction::Custom(_) => Reading::Any,
    };
    policy.rules.iter().any(|rule| rule_matches(rule, facts, reading))
}

fn rule_matches(rule: &RequestRule, facts: &RequestFacts<'_>, reading: Reading) -> bool {
    (rule.from.is_empty() || rule.from.iter().any(|from| source_matches(from, facts)))
        && (rule.to.is_empty() || rule.to.iter().any(|to| operation_matches(to, facts, reading)))
        && rule.when.iter().all(|when| condition_holds(when, facts, reading))
}

fn source_matches(source: &RequestSource, facts: &RequestFacts<'_>) -> bool {
    principal(&source.principals, facts)
        && auth_principal(&source.request_principals, facts)
        && namespace(&source.namespaces, facts)
        && account(&source.service_accounts, facts)
        && address(&source.ip_blocks, facts.source_ip)
        && address(&source.remote_ip_blocks, facts.remote_ip)
}

fn operation_matches(to: &RequestOperation, facts: &RequestFacts<'_>, reading: Reading) -> bool {
    holds(&to.hosts, |want| facts.host.is_some_and(|host| host_matches(want, host)))
        && holds(&to.ports, |port| *port == facts.destination.port())
        && holds(&to.methods, |want| string_matches(want, facts.method.as_bytes()))
        && path_matches(&to.paths, facts, reading)
}

fn condition_holds(when: &RequestCondition, facts: &RequestFacts<'_>, reading: Reading) -> bool {
    match when {
        RequestCondition::Header { name, terms } => header(name, terms, facts, reading),
        RequestCondition::SourceIp(terms) => address(terms, facts.source_ip),
        RequestCondition::RemoteIp(terms) => address(terms, facts.remote_ip),
        RequestCondition::SourceNamespace(terms) => namespace(terms, facts),
        RequestCondition::SourcePrincipal(terms) => principal(terms, facts),
        RequestCondition::SourceServiceAccount(terms) => account(terms, facts),
        RequestCondition::AuthPrincipal(terms) => auth_principal(terms, facts),
        RequestCondition::AuthClaim { claim, terms } => holds(terms, |want| {
            let mut found = false;
            if let Some(auth) = facts.auth {
                auth.each(claim, &mut |value| found |= string_matches(want, value.as_bytes()));
            }
            found
        }),
        RequestCondition::DestinationIp(terms) => address(terms, facts.destination.ip()),
        RequestCondition::DestinationPort(terms) => {
            holds(terms, |port| *port == facts.destination.port())
        }
        RequestCondition::Sni(terms) => {
            holds(terms, |want| facts.sni.is_some_and(|sni| folded_matches(want, sni)))
        }
    }
}

/// Any of the wanted values, where there are any, and none of the unwanted ones.
fn holds<T>(terms: &Terms<T>, mut is: impl FnMut(&T) -> bool) -> bool {
    (terms.values.is_empty() || terms.values.iter().any(&mut is))
        && !terms.not_values.iter().any(is)
}

fn principal(terms: &Terms<StringMatch>, facts: &RequestFacts<'_>) -> bool {
    holds(terms, |want| facts.source_identity.is_some_and(|id| principal_matches(want, id)))
}

fn namespace(terms: &Terms<StringMatch>, facts: &RequestFacts<'_>) -> bool {
    holds(terms, |want| {
        facts.source_identity.is_some_and(|id| string_matches(want, id.namespace.as_bytes()))
    })
}

fn account(terms: &Terms<ServiceAccountMatch>, facts: &RequestFacts<'_>) -> bool {
    holds(terms, |want| facts.source_identity.is_some_and(|id| account_matches(want, id)))
}

fn auth_principal(terms: &Terms<StringMatch>, facts: &RequestFacts<'_>) -> bool {
    holds(terms, |want| {
        facts.auth.is_some_and(|auth| string_matches(want, auth.principal().as_bytes()))
    })
}

fn address(terms: &Terms<IpNet>, ip: IpAddr) -> bool {
    holds(terms, |net| net.contains(&ip))
}

fn path_matches(terms: &Terms<PathMatch>, facts: &RequestFacts<'_>, reading: Reading) -> bool {
    let view_holds = |view: &str| holds(terms, |pattern| pattern_matches(pattern, view));
    match reading {
        Reading::Any => facts.path.views().any(view_holds),
        Reading::All => facts.path.views().all(view_holds),
    }
}

fn pattern_matches(pattern: &PathMatch, path: &str) -> bool {
    match pattern {
        PathMatch::Text(StringMatch::Presence()) => true,
        PathMatch::Text(text) => string_matches(text, path.as_bytes()),
        PathMatch::Template(template) => template_matches(template, path).is_some(),
    }
}

/// `Some` where it does.
fn template_matches(template: &PathTemplate, path: &str) -> Option<()> {
    let mut rest = path;
    for segment in template.segments() {
        let after = rest.strip_prefix('/')?;
        let (first, next) = after.split_at(after.find('/').unwrap_or(after.len()));
        match segment {
            TemplateSegment::Literal(literal) if literal == first => {}
            TemplateSegment::One if !first.is_empty() => {}
            TemplateSegment::Literal(_) | TemplateSegment::One => return None,
            TemplateSegment::Any => {
                let (_, end) = template.as_str().split_once("{**}")?;
                return after.ends_with(end).then_some(());
            }
        }
        rest = next;
    }
    rest.is_empty().then_some(())
}

/// The authority as it is, without its port, and without the dot that may end a name; whatever the case.
fn host_matches(want: &StringMatch, host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    let bare = name.strip_suffix('.').unwrap_or(name);
    [host, name, bare].into_iter().any(|form| folded_matches(want, form))
}

/// As other strings, but without regard to the case of `value`; `want` is in lower case.
fn folded_matches(want: &StringMatch, value: &str) -> bool {
    let value = value.as_bytes();
    let same = |part: Option<&[u8]>, text: &str| {
        part.is_some_and(|part| part.eq_ignore_ascii_case(text.as_bytes()))
    };
    match want {
        StringMatch::Exact(text) => same(Some(value), text),
        StringMatch::Prefix(text) => same(value.get(..text.len()), text),
        StringMatch::Suffix(text) => {
            same(value.len().checked_sub(text.len()).and_then(|at| value.get(at..)), text)
        }
        StringMatch::Presence() => !value.is_empty(),
    }
}

/// A header, or what Istio calls one.
fn header(
    name: &str,
    terms: &Terms<StringMatch>,
    facts: &RequestFacts<'_>,
    reading: Reading,
) -> bool {
    match name {
        ":method" => holds(terms, |want| string_matches(want, facts.method.as_bytes())),
        ":authority" | "host" => {
            holds(terms, |want| facts.host.is_some_and(|host| host_matches(want, host)))
        }
        _ => header_lines(name, terms, facts.headers, reading),
    }
}

fn header_lines(
    name: &str,
    terms: &Terms<StringMatch>,
    headers: &dyn HeaderValues,
    reading: Reading,
) -> bool {
    let value_holds = |value: &[u8]| holds(terms, |want| string_matches(want, value));
    let (mut lines, mut any, mut all) = (0_usize, false, true);
    headers.each(name, &mut |value| {
        let held = value_holds(value);
        (lines, any, all) = (lines + 1, any | held, all & held);
    });
    if lines == 0 {
        return terms.values.is_empty();
    }
    if lines > 1 {
        let cookie = name == "cookie";
        let held = value_holds(&joined(name, headers, if cookie { b"; " } else { b"," }));
        // HTTP/2 spreads cookies over many lines without meaning anything by it.
        (any, all) = (any | held, if cookie { held } else { all & held });
    }
    match reading {
        Reading::Any => any,
        Reading::All => all,
    }
}

fn joined(name: &str, headers: &dyn HeaderValues, separator: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    let mut first = true;
    headers.each(name, &mut |value| {
        if !std::mem::take(&mut first) {
            joined.extend_from_slice(separator);
        }
        joined.extend_from_slice(value);
    });
    joined
}
