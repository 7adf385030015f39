//! A container's specification → the program, arguments and environment that it means on this machine. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec};

use crate::cluster::Objects;
use crate::dns::DOMAIN;

/// A program to start.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Launch {
    /// The program and its arguments; at least one.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) dir: Option<PathBuf>,
    /// User and group, where they are not the sandbox's own.
    pub(crate) user: Option<i64>,
    pub(crate) group: Option<i64>,
}

/// What a pod's containers can learn about it (`fieldRef`).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodFacts {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) hostname: String,
    pub(crate) node: String,
    pub(crate) node_ip: String,
    pub(crate) ips: Vec<String>,
    pub(crate) service_account: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Programs of this machine that stand for images: image → program and first arguments.
pub type Images = BTreeMap<String, Vec<String>>;

/// What to start for `container`.
///
/// # Errors
/// The field that cannot be used, and why.
pub(crate) fn launch(
    container: &Container,
    spec: &PodSpec,
    facts: &PodFacts,
    (images, objects): (&Images, &Objects),
) -> Result<Launch, String> {
    let mut env = base_environment(facts);
    from_maps(container, facts, objects, &mut env)?;
    for variable in container.env.iter().flatten() {
        let value = value(variable, facts, objects, &env)
            .map_err(|problem| format!("env {}: {problem}", variable.name))?;
        if let Some(value) = value {
            env.insert(variable.name.clone(), value);
        }
    }
    let image = container.image.as_deref().unwrap_or_default();
    let command = match container.command.as_ref().filter(|command| !command.is_empty()) {
        Some(command) => command,
        None => mapped(images, image).ok_or_else(|| {
            format!(
                "command: is missing; the sandbox runs programs of this machine, not images: \
                 name one, or map the image {image:?} to one"
            )
        })?,
    };
    let words = command.iter().chain(container.args.iter().flatten());
    let security = container.security_context.as_ref();
    let pod_security = spec.security_context.as_ref();
    Ok(Launch {
        argv: words.map(|word| expand(word, &env)).collect(),
        dir: container.working_dir.as_ref().map(PathBuf::from),
        user: security
            .and_then(|of| of.run_as_user)
            .or_else(|| pod_security.and_then(|of| of.run_as_user)),
        group: security
            .and_then(|of| of.run_as_group)
            .or_else(|| pod_security.and_then(|of| of.run_as_group)),
        env,
    })
}

/// What stands for an image: by its full name, or without its tag.
fn mapped<'a>(images: &'a Images, image: &str) -> Option<&'a Vec<String>> {
    let untagged = image.rsplit_once(':').map_or(image, |(name, _)| name);
    images.get(image).or_else(|| images.get(untagged)).filter(|program| !program.is_empty())
}

/// Programs of the host find their way about as on the host.
fn base_environment(facts: &PodFacts) -> BTreeMap<String, String> {
    let path = std::env::var("PATH").unwrap_or_else(|_| {
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()
    });
    let home = std::env::var("HOME").unwrap_or_else(|_| "/".to_owned());
    let pairs = [("PATH", path), ("HOME", home), ("HOSTNAME", facts.hostname.clone())];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// `envFrom`.
fn from_maps(
    container: &Container,
    facts: &PodFacts,
    objects: &Objects,
    env: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let named = [
            source.config_map_ref.as_ref().map(|of| ("ConfigMap", &of.name, of.optional)),
            source.secret_ref.as_ref().map(|of| ("Secret", &of.name, of.optional)),
        ];
        for (kind, name, optional) in named.into_iter().flatten() {
            match contents(objects, kind, &facts.namespace, name) {
                Some(contents) => env.extend(contents.into_iter().filter_map(|(key, value)| {
                    Some((format!("{prefix}{key}"), String::from_utf8(value).ok()?))
                })),
                None if optional == Some(true) => {}
                None => return Err(format!("envFrom: there is no {kind} {name:?}")),
            }
        }
    }
    Ok(())
}

/// What a ConfigMap or Secret holds.
pub(crate) fn contents(
    objects: &Objects,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    if kind == "ConfigMap" {
        let map = objects.config_map(namespace, name)?;
        let text = map.data.clone().unwrap_or_default();
        found.extend(text.into_iter().map(|(key, value)| (key, value.into_bytes())));
        let binary = map.binary_data.clone().unwrap_or_default();
        found.extend(binary.into_iter().map(|(key, value)| (key, value.0)));
    } else {
        let secret = objects.secret(namespace, name)?;
        let binary = secret.data.clone().unwrap_or_default();
        found.extend(binary.into_iter().map(|(key, value)| (key, value.0)));
        let text = secret.string_data.clone().unwrap_or_default();
        found.extend(text.into_iter().map(|(key, value)| (key, value.into_bytes())));
    }
    Some(found)
}

fn value(
    variable: &EnvVar,
    facts: &PodFacts,
    objects: &Objects,
    env: &BTreeMap<String, String>,
) -> Result<Option<String>, String> {
    let Some(source) = &variable.value_from else {
        return Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), env)));
    };
    if let Some(field) = &source.field_ref {
        return self::field(&field.field_path, facts).map(Some);
    }
    let keys = [
        source.config_map_key_ref.as_ref().map(|of| ("ConfigMap", &of.name, &of.key, of.optional)),
        source.secret_key_ref.as_ref().map(|of| ("Secret", &of.name, &of.key, of.optional)),
    ];
    let Some((kind, name, key, optional)) = keys.into_iter().flatten().next() else {
        return Err("the sandbox knows fieldRef, configMapKeyRef and secretKeyRef".to_owned());
    };
    let found = contents(objects, kind, &facts.namespace, name).and_then(|mut of| of.remove(key));
    match found.map(String::from_utf8) {
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(format!("key {key:?} of {kind} {name:?} is no text")),
        None if optional == Some(true) => Ok(None),
        None => Err(format!("there is no key {key:?} in a {kind} {name:?}")),
    }
}

fn field(path: &str, facts: &PodFacts) -> Result<String, String> {
    let keyed = |prefix: &str| {
        path.strip_prefix(prefix).and_then(|rest| rest.strip_suffix("']")).map(str::to_owned)
    };
    if let Some(key) = keyed("metadata.labels['") {
        return Ok(facts.labels.get(&key).cloned().unwrap_or_default());
    }
    if let Some(key) = keyed("metadata.annotations['") {
        return Ok(facts.annotations.get(&key).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => facts.name.clone(),
        "metadata.namespace" => facts.namespace.clone(),
        "metadata.uid" => facts.uid.clone(),
        "spec.nodeName" => facts.node.clone(),
        "spec.serviceAccountName" => facts.service_account.clone(),
        "status.hostIP" => facts.node_ip.clone(),
        "status.podIP" => facts.ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.ips.join(","),
        _ => return Err(format!("fieldRef {path:?} is unknown")),
    })
}

/// Replaces `$(NAME)` by the variable's value where there is one; `$$` stands for a `$` (as in Kubernetes).
fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let reference = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        rest = match (after.strip_prefix('$'), reference) {
            (Some(after), _) => {
                out.push('$');
                after
            }
            (None, Some((name, after))) if env.contains_key(name) => {
                out.push_str(env.get(name).map(String::as_str).unwrap_or_default());
                after
            }
            _ => {
                out.push('$');
                after
            }
        };
    }
    out.push_str(rest);
    out
}

/// A pod's `resolv.conf`: the cluster's server and search list unless the pod has its own (`dnsPolicy`, `dnsConfig`).
pub(crate) fn resolv_conf(spec: &PodSpec, namespace: &str, server: &str) -> String {
    let own = spec.dns_policy.as_deref() == Some("None");
    let config = spec.dns_config.clone().unwrap_or_default();
    let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), Vec::new());
    if !own {
        servers.push(server.to_owned());
        searches.extend([
            format!("{namespace}.svc.{DOMAIN}"),
            format!("svc.{DOMAIN}"),
            DOMAIN.to_owned(),
        ]);
        options.push("ndots:5".to_owned());
    }
    servers.extend(config.nameservers.unwrap_or_default());
    searches.extend(config.searches.unwrap_or_default());
    options.extend(config.options.unwrap_or_default().into_iter().filter_map(|option| {
        Some(match option.value {
            Some(value) => format!("{}:{value}", option.name?),
            None => option.name?,
        })
    }));
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    for (word, values) in [("search", searches), ("options", options)] {
        if !values.is_empty() {
            text.push_str(&format!("{word} {}\n", values.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests;
