//! The rules of a policy that waypoints enforce.

use ambit_model::{
    PathMatch, PathTemplate, RequestCondition, RequestOperation, RequestRule, RequestSource, Str,
    StringMatch, Terms,
};

use super::raw::{RawCondition, RawOperation, RawRule, RawSource};
use super::values;
use crate::watch::kinds::Problem;

type Read<T> = fn(&str, &[String]) -> Result<Vec<T>, Problem>;

/// Reads a rule of a policy of `namespace`.
pub(super) fn rule(namespace: &str, raw: RawRule) -> Result<RequestRule, Problem> {
    let from = raw.from.unwrap_or_default().into_iter().map(|from| from.source);
    let to = raw.to.unwrap_or_default().into_iter().map(|to| to.operation);
    let when = raw.when.unwrap_or_default().into_iter();
    Ok(RequestRule {
        from: each("from", ".source", from, |raw| source(namespace, &raw))?,
        to: each("to", ".operation", to, |raw| operation(&raw))?,
        when: each("when", "", when, |raw| condition(namespace, &raw))?,
    })
}

fn each<R, T>(
    field: &str,
    inner: &str,
    list: impl Iterator<Item = R>,
    read: impl Fn(R) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    let read = |(i, raw)| read(raw).map_err(|p| p.within(&format!("{field}[{i}]{inner}")));
    list.enumerate().map(read).collect()
}

fn source(namespace: &str, raw: &RawSource) -> Result<RequestSource, Problem> {
    if *raw == RawSource::default() {
        return Err(Problem::new("", "says nothing; leave it out to mean every source"));
    }
    let accounts = |field: &str, list: &[String]| values::service_accounts(namespace, field, list);
    Ok(RequestSource {
        principals: Terms {
            values: values::strings("principals", &raw.principals)?,
            not_values: values::strings("notPrincipals", &raw.not_principals)?,
        },
        request_principals: Terms {
            values: values::strings("requestPrincipals", &raw.request_principals)?,
            not_values: values::strings("notRequestPrincipals", &raw.not_request_principals)?,
        },
        namespaces: Terms {
            values: values::strings("namespaces", &raw.namespaces)?,
            not_values: values::strings("notNamespaces", &raw.not_namespaces)?,
        },
        service_accounts: Terms {
            values: accounts("serviceAccounts", &raw.service_accounts)?,
            not_values: accounts("notServiceAccounts", &raw.not_service_accounts)?,
        },
        ip_blocks: Terms {
            values: values::nets("ipBlocks", &raw.ip_blocks)?,
            not_values: values::nets("notIpBlocks", &raw.not_ip_blocks)?,
        },
        remote_ip_blocks: Terms {
            values: values::nets("remoteIpBlocks", &raw.remote_ip_blocks)?,
            not_values: values::nets("notRemoteIpBlocks", &raw.not_remote_ip_blocks)?,
        },
    })
}

fn operation(raw: &RawOperation) -> Result<RequestOperation, Problem> {
    if *raw == RawOperation::default() {
        return Err(Problem::new("", "says nothing; leave it out to mean every operation"));
    }
    Ok(RequestOperation {
        hosts: Terms {
            values: values::strings("hosts", &raw.hosts)?,
            not_values: values::strings("notHosts", &raw.not_hosts)?,
        },
        ports: Terms {
            values: values::numbers("ports", &raw.ports)?,
            not_values: values::numbers("notPorts", &raw.not_ports)?,
        },
        methods: Terms {
            values: values::strings("methods", &raw.methods)?,
            not_values: values::strings("notMethods", &raw.not_methods)?,
        },
        paths: Terms {
            values: paths("paths", &raw.paths)?,
            not_values: paths("notPaths", &raw.not_paths)?,
        },
    })
}

fn paths(field: &str, list: &[String]) -> Result<Vec<PathMatch>, Problem> {
    let read = |(i, text): (usize, &String)| {
        let field = format!("{field}[{i}]");
        if PathTemplate::is_template(text) {
            let template = text.parse().map_err(|error| Problem::new(field, error))?;
            return Ok(PathMatch::Template(template));
        }
        values::string(&field, text).map(PathMatch::Text)
    };
    list.iter().enumerate().map(read).collect()
}

fn condition(namespace: &str, raw: &RawCondition) -> Result<RequestCondition, Problem> {
    use RequestCondition as Is;
    if raw.values.is_empty() && raw.not_values.is_empty() {
        return Err(Problem::new("values", "neither values nor notValues are given"));
    }
    let texts = || terms(raw, values::strings);
    let claim = |name: &str| Ok(Is::AuthClaim { claim: vec![name.into()], terms: texts()? });
    match raw.key.as_str() {
        "source.ip" => terms(raw, values::nets).map(Is::SourceIp),
        "remote.ip" => terms(raw, values::nets).map(Is::RemoteIp),
        "source.namespace" => texts().map(Is::SourceNamespace),
        "source.principal" => texts().map(Is::SourcePrincipal),
        "source.serviceAccount" => {
            let read =
                |field: &str, list: &[String]| values::service_accounts(namespace, field, list);
            Ok(Is::SourceServiceAccount(Terms {
                values: read("values", &raw.values)?,
                not_values: read("notValues", &raw.not_values)?,
            }))
        }
        "request.auth.principal" => texts().map(Is::AuthPrincipal),
        "request.auth.audiences" => claim("aud"),
        "request.auth.presenter" => claim("azp"),
        "destination.ip" => terms(raw, values::nets).map(Is::DestinationIp),
        "destination.port" => terms(raw, values::numbers).map(Is::DestinationPort),
        "connection.sni" => texts().map(Is::Sni),
        key => named(key, texts()?),
    }
}

/// The keys that name something in brackets.
fn named(key: &str, terms: Terms<StringMatch>) -> Result<RequestCondition, Problem> {
    let unknown = || Problem::new("key", format!("{key:?} is unknown"));
    if let Some(names) = key.strip_prefix("request.auth.claims") {
        let claim = brackets(names).ok_or_else(unknown)?;
        return Ok(RequestCondition::AuthClaim { claim, terms });
    }
    let names = key.strip_prefix("request.headers").and_then(brackets);
    let [name] = &names.ok_or_else(unknown)?[..] else { return Err(unknown()) };
    let pseudo = matches!(&**name, ":method" | ":authority");
    if !pseudo && http::HeaderName::try_from(&**name).is_err() {
        let message = format!("{name:?} is not the name of a header, :method or :authority");
        return Err(Problem::new("key", message));
    }
    Ok(RequestCondition::Header { name: name.clone(), terms })
}

/// `[a][b]` → `a`, `b`; there is one at least, and none is empty.
fn brackets(text: &str) -> Option<Vec<Str>> {
    let names = text.strip_prefix('[')?.strip_suffix(']')?.split("][");
    let name = |name: &str| (!name.is_empty() && !name.contains(['[', ']'])).then(|| name.into());
    names.map(name).collect()
}

fn terms<T>(raw: &RawCondition, read: Read<T>) -> Result<Terms<T>, Problem> {
    Ok(Terms {
        values: read("values", &raw.values)?,
        not_values: read("notValues", &raw.not_values)?,
    })
}
