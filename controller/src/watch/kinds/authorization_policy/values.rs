//! The values of a policy's fields.

use ambit_model::{ServiceAccountMatch, StringMatch};
use ipnet::IpNet;

use crate::watch::kinds::{Problem, network, ports};

pub(super) fn strings(field: &str, list: &[String]) -> Result<Vec<StringMatch>, Problem> {
    let one = |(i, text): (usize, &String)| string(&format!("{field}[{i}]"), text);
    list.iter().enumerate().map(one).collect()
}

/// `*` is any non-empty string, `*x` a suffix, `x*` a prefix; anything else is the whole string.
pub(super) fn string(field: &str, text: &str) -> Result<StringMatch, Problem> {
    match text {
        "" => Err(Problem::new(field, "is empty")),
        "*" => Ok(StringMatch::Presence()),
        text => Ok(match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(suffix), _) => StringMatch::Suffix(suffix.into()),
            (None, Some(prefix)) => StringMatch::Prefix(prefix.into()),
            (None, None) => StringMatch::Exact(text.into()),
        }),
    }
}

/// `namespace/name`, or a name in the policy's own namespace.
pub(super) fn service_accounts(
    namespace: &str,
    field: &str,
    list: &[String],
) -> Result<Vec<ServiceAccountMatch>, Problem> {
    list.iter()
        .enumerate()
        .map(|(i, text)| {
            let (namespace, name) = text.split_once('/').unwrap_or((namespace, text));
            if namespace.is_empty() || name.is_empty() || name.contains('/') || text.contains('*') {
                let message = format!("{text:?} is not of the form namespace/name or name");
                return Err(Problem::new(format!("{field}[{i}]"), message));
            }
            Ok(ServiceAccountMatch { namespace: namespace.into(), service_account: name.into() })
        })
        .collect()
}

pub(super) fn nets(field: &str, list: &[String]) -> Result<Vec<IpNet>, Problem> {
    list.iter()
        .enumerate()
        .map(|(i, text)| match text.parse::<IpNet>() {
            Ok(net) => Ok(net.trunc()),
            Err(_) => network::ip(&format!("{field}[{i}]"), text).map(IpNet::from),
        })
        .collect()
}

pub(super) fn numbers(field: &str, list: &[String]) -> Result<Vec<u16>, Problem> {
    list.iter()
        .enumerate()
        .map(|(i, text)| {
            let field = format!("{field}[{i}]");
            let invalid = |_| Problem::new(&field, format!("{text:?} is not a port"));
            ports::port(&field, text.parse().map_err(invalid)?)
        })
        .collect()
}
