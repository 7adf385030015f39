//! A Route in lines that people can read.

use ambit_proto::ambit::{
    Backend, Filter, HeaderEdit, HttpAction, HttpMatch, PathEdit, Protocol, Redirect, Route,
    StringMatch, Table, filter, path_edit, path_match, string_match,
};

pub(in crate::index::tests) fn print(route: &Route) -> Vec<String> {
    let mut lines: Vec<String> = route
        .ports
        .iter()
        .map(|p| format!("port {} {:?}", p.port, Protocol::try_from(p.protocol).unwrap()))
        .collect();
    route.tables.iter().for_each(|t| table(t, &mut lines));
    lines
}

fn table(table: &Table, lines: &mut Vec<String>) {
    let consumers = match &table.consumer_namespace[..] {
        "" => String::new(),
        namespace => format!(" for {namespace}"),
    };
    lines.push(format!("table {}{consumers}", table.port));
    for entry in &table.http {
        let action = &table.actions[entry.action as usize];
        let text = http_match(entry.r#match.as_ref().unwrap());
        lines.push(format!("  {text} -> {}", action.name));
        http_action(action, lines);
    }
    for entry in &table.tls {
        lines.push(format!("  tls {} {}", entry.sni.join(" "), entry.name));
        backends(&entry.backends, lines);
    }
    for entry in &table.tcp {
        lines.push(format!("  tcp {}", entry.name));
        backends(&entry.backends, lines);
    }
}

fn http_match(m: &HttpMatch) -> String {
    let mut parts = Vec::new();
    if let Some(path) = &m.path {
        let case = if path.ignore_case { "(i)" } else { "" };
        parts.push(match path.kind.as_ref().unwrap() {
            path_match::Kind::Exact(path) => format!("={path}{case}"),
            path_match::Kind::SegmentPrefix(path) => format!("{path}*{case}"),
            path_match::Kind::Prefix(path) => format!("{path}**{case}"),
            path_match::Kind::Regex(path) => format!("~{path}{case}"),
        });
    }
    parts.extend(m.method.iter().map(value));
    parts.extend(m.scheme.iter().map(|v| format!("scheme {}", value(v))));
    parts.extend(m.authority.iter().map(|v| format!("authority {}", value(v))));
    for (mark, list) in [("", &m.headers), ("?", &m.query)] {
        parts.extend(list.iter().map(|named| {
            let not = if named.invert { "not " } else { "" };
            let text = value(named.value.as_ref().unwrap());
            let colon = if text.starts_with('~') { "" } else { ":" };
            format!("{not}{mark}{}{colon}{text}", named.name)
        }));
    }
    if let Some(source) = &m.source {
        parts.push(format!("from {:?} {:?}", source.namespace, source.labels));
    }
    parts.join(" ")
}

fn value(m: &StringMatch) -> String {
    let case = if m.ignore_case { "(i)" } else { "" };
    match m.kind.as_ref().unwrap() {
        string_match::Kind::Exact(text) => format!("{text}{case}"),
        string_match::Kind::Prefix(text) => format!("{text}*{case}"),
        string_match::Kind::Suffix(text) => format!("*{text}{case}"),
        string_match::Kind::Regex(text) => format!("~{text}"),
        string_match::Kind::Present(_) => "*".to_owned(),
    }
}

fn http_action(action: &HttpAction, lines: &mut Vec<String>) {
    lines.extend(action.filters.iter().map(|f| format!("    {}", filter(f))));
    backends(&action.backends, lines);
    for mirror in &action.mirrors {
        let backend = mirror.backend.as_ref().unwrap();
        lines.push(format!("    mirror {} {}", mirror.share, address(backend)));
    }
    if action.request_timeout.is_some() || action.backend_timeout.is_some() {
        let text = |t: Option<u64>| t.map_or("-".to_owned(), |t| t.to_string());
        let (whole, one) = (text(action.request_timeout), text(action.backend_timeout));
        lines.push(format!("    timeouts {whole} {one}"));
    }
    if let Some(retry) = &action.retry {
        let per_try = retry.per_try_timeout.map_or(String::new(), |t| format!(" within {t}"));
        lines.push(format!(
            "    retry {} on {:?} codes {:?} after {}{per_try}",
            retry.attempts, retry.on, retry.codes, retry.backoff
        ));
    }
    if let Some(fault) = &action.fault {
        let delay = fault.delay.iter().map(|d| format!("delay {} by {}", d.share, d.duration));
        let abort = fault.abort.iter().map(|a| format!("abort {} with {:?}", a.share, a.kind));
        lines.push(format!("    fault {}", delay.chain(abort).collect::<Vec<_>>().join(" ")));
    }
}

fn backends(list: &[Backend], lines: &mut Vec<String>) {
    for backend in list {
        lines.push(format!("    {} {}", backend.weight, address(backend)));
        lines.extend(backend.filters.iter().map(|f| format!("      {}", filter(f))));
    }
}

fn address(backend: &Backend) -> String {
    if !backend.invalid.is_empty() {
        return format!("! {}", backend.invalid);
    }
    let subset = match &backend.subset[..] {
        "" => String::new(),
        subset => format!(" subset {subset} {:?}", backend.subset_labels),
    };
    format!("{}:{}{subset}", backend.service, backend.port)
}

fn filter(f: &Filter) -> String {
    match f.kind.as_ref().unwrap() {
        filter::Kind::RequestHeaders(edit) => format!("request{}", headers(edit)),
        filter::Kind::ResponseHeaders(edit) => format!("response{}", headers(edit)),
        filter::Kind::Redirect(r) => redirect(r),
        filter::Kind::Rewrite(r) => {
            let host =
                if r.hostname.is_empty() { String::new() } else { format!(" host {}", r.hostname) };
            format!("rewrite{host}{}", path(r.path.as_ref()))
        }
        filter::Kind::DirectResponse(r) => {
            format!("respond {} {}", r.status, String::from_utf8_lossy(&r.body))
        }
        filter::Kind::Cors(cors) => {
            let origins: Vec<String> = cors.origins.iter().map(value).collect();
            let age = cors.max_age.map_or("-".to_owned(), |age| age.to_string());
            format!(
                "cors from {} methods {} for {age} s",
                origins.join(" "),
                cors.methods.join(" ")
            )
        }
    }
}

fn headers(edit: &HeaderEdit) -> String {
    let mut text = String::new();
    for (verb, list) in [("set", &edit.set), ("add", &edit.add)] {
        list.iter().for_each(|h| text += &format!(" {verb} {}={}", h.name, h.value));
    }
    edit.remove.iter().for_each(|name| text += &format!(" remove {name}"));
    text
}

fn redirect(r: &Redirect) -> String {
    let scheme = if r.scheme.is_empty() { String::new() } else { format!("{}://", r.scheme) };
    let port = if r.port == 0 { String::new() } else { format!(":{}", r.port) };
    format!("redirect {} {scheme}{}{port}{}", r.status, r.hostname, path(r.path.as_ref()))
}

fn path(edit: Option<&PathEdit>) -> String {
    match edit.and_then(|edit| edit.kind.as_ref()) {
        None => String::new(),
        Some(path_edit::Kind::Full(path)) => format!(" full {path}"),
        Some(path_edit::Kind::Prefix(path)) => format!(" prefix {path}"),
        Some(path_edit::Kind::Regex(r)) => format!(" regex {} by {}", r.pattern, r.substitution),
    }
}
