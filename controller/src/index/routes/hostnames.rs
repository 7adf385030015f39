//! Hosts with wildcards: what they have in common, and which is the more specific. Pure.

use std::cmp::Reverse;

use ambit_model::Str;

/// Whether `pattern` stands for all that `host` stands for. Empty stands for every host, a leading `*.` for one label or
/// more.
pub(super) fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        _ if pattern.is_empty() => true,
        // A wildcard of its own is covered where its suffix is.
        Some(suffix) => {
            host.strip_prefix('*').unwrap_or(host).ends_with(suffix) && host.len() > suffix.len()
        }
        None => pattern == host,
    }
}

/// The hosts that both a listener and a route are for; a route that names none is for all.
pub(super) fn common(listener: &Str, route: &[Str]) -> Vec<Str> {
    if route.is_empty() {
        return vec![listener.clone()];
    }
    let both = |host: &Str| {
        if covers(listener, host) {
            Some(host.clone())
        } else {
            covers(host, listener).then(|| listener.clone())
        }
    };
    let mut hosts: Vec<Str> = route.iter().filter_map(both).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Orders hosts, the most specific first: whole names, then the longest.
pub(super) fn rank(host: &str) -> (bool, Reverse<usize>) {
    (host.is_empty() || host.starts_with('*'), Reverse(host.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_one_label_or_more() {
        for (pattern, host, expected) in [
            ("", "a.example", true),
            ("", "*.example", true),
            ("a.example", "a.example", true),
            ("a.example", "b.example", false),
            ("*.example", "a.example", true),
            ("*.example", "b.a.example", true),
            ("*.example", "example", false),
            ("*.example", "*.example", true),
            ("*.example", "*.a.example", true),
            ("*.a.example", "*.example", false),
            ("*.example", "a.examplee", false),
            ("*.example", "", false),
            ("a.example", "", false),
        ] {
            assert_eq!(covers(pattern, host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn what_is_common_is_the_narrower_of_two() {
        for (listener, route, expected) in [
            ("", &[][..], &[""][..]),
            ("", &["a.example", "*.b"], &["*.b", "a.example"]),
            ("a.example", &[], &["a.example"]),
            ("a.example", &["*.example"], &["a.example"]),
            ("*.example", &["a.example", "b.other", "*.a.example"], &["*.a.example", "a.example"]),
            ("*.example", &["*.other"], &[]),
            ("a.example", &["b.example"], &[]),
        ] {
            let route: Vec<Str> = route.iter().map(|host| Str::from(*host)).collect();
            let common = common(&listener.into(), &route);
            assert_eq!(common.iter().map(|h| &**h).collect::<Vec<_>>(), expected, "{listener}");
        }
    }

    #[test]
    fn the_most_specific_host_goes_first() {
        let mut hosts = ["", "*.example", "a.example", "*.a.example", "b.a.example"];
        hosts.sort_by_key(|host| rank(host));
        assert_eq!(hosts, ["b.a.example", "a.example", "*.a.example", "*.example", ""]);
    }
}
