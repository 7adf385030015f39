//! Which names a query may mean: the name as it is, as a Kubernetes short name, and without a search domain.

/// A name to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// What to look for, in lower case and without the final dot.
    pub(super) name: String,
    /// The query's name without the search domain, if one had to be taken off.
    pub(super) stripped: Option<String>,
}

/// From where a name is looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// The cluster's domain.
    pub(super) domain: &'a str,
    /// The client's namespace.
    pub(super) namespace: &'a str,
    /// The client's search list; Kubernetes' own if empty.
    pub(super) searches: &'a [ambit_model::Str],
}

/// The candidates for `name` (lower case, no final dot), best first and each once (protocol.md 7).
pub(super) fn candidates(name: &str, scope: Scope<'_>) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |name: String, stripped: Option<&str>| {
        if !found.iter().any(|known| known.name == name) {
            found.push(Candidate { name, stripped: stripped.map(str::to_owned) });
        }
    };
    add(name.to_owned(), None);
    for expanded in kubernetes_names(name, scope) {
        add(expanded, None);
    }
    for search in scope.search_list() {
        let Some(stripped) = strip(name, &search) else { continue };
        add(stripped.to_owned(), Some(stripped));
        for expanded in kubernetes_names(stripped, scope) {
            add(expanded, Some(stripped));
        }
    }
    found
}

/// `name` and the wildcards that cover it, most specific first: `a.b.c`, `*.b.c`, `*.c`.
pub(super) fn with_wildcards(name: &str) -> impl Iterator<Item = String> + '_ {
    let dots = name.match_indices('.').filter_map(|(dot, _)| name.get(dot..));
    std::iter::once(name.to_owned()).chain(dots.map(|rest| format!("*{rest}")))
}

impl Scope<'_> {
    fn search_list(self) -> Vec<String> {
        let Self { domain, namespace, searches } = self;
        if searches.is_empty() {
            return vec![
                format!("{namespace}.svc.{domain}"),
                format!("svc.{domain}"),
                domain.to_owned(),
            ];
        }
        searches.iter().map(|search| search.trim_end_matches('.').to_ascii_lowercase()).collect()
    }
}

/// The fully qualified names that Kubernetes means by a short one: of a service, or of a pod behind a headless one.
fn kubernetes_names(name: &str, scope: Scope<'_>) -> Vec<String> {
    let Scope { domain, namespace, .. } = scope;
    let ends_in_svc = name.ends_with(".svc");
    match name.split('.').count() {
        1 => vec![format!("{name}.{namespace}.svc.{domain}")],
        2 => vec![format!("{name}.svc.{domain}"), format!("{name}.{namespace}.svc.{domain}")],
        3 if ends_in_svc => vec![format!("{name}.{domain}"), format!("{name}.svc.{domain}")],
        3 => vec![format!("{name}.svc.{domain}")],
        4 if ends_in_svc => vec![format!("{name}.{domain}")],
        _ => Vec::new(),
    }
}

/// `name` without `search` at its end; something must be left.
fn strip<'a>(name: &'a str, search: &str) -> Option<&'a str> {
    name.strip_suffix(search)?.strip_suffix('.').filter(|_| !search.is_empty())
}

#[cfg(test)]
mod tests {
    use ambit_model::Str;

    use super::*;

    fn names(name: &str, searches: &[Str]) -> Vec<String> {
        let scope = Scope { domain: "cluster.local", namespace: "ns", searches };
        candidates(name, scope)
            .into_iter()
            .map(|candidate| match candidate.stripped {
                Some(stripped) => format!("{} from {stripped}", candidate.name),
                None => candidate.name,
            })
            .collect()
    }

    #[test]
    fn candidates_by_number_of_labels() {
        for (name, expected) in [
            ("x", vec!["x", "x.ns.svc.cluster.local"]),
            (
                "x.other",
                vec!["x.other", "x.other.svc.cluster.local", "x.other.ns.svc.cluster.local"],
            ),
            (
                "x.other.svc",
                vec!["x.other.svc", "x.other.svc.cluster.local", "x.other.svc.svc.cluster.local"],
            ),
            ("pod.x.other", vec!["pod.x.other", "pod.x.other.svc.cluster.local"]),
            ("pod.x.other.svc", vec!["pod.x.other.svc", "pod.x.other.svc.cluster.local"]),
            ("a.b.c.d", vec!["a.b.c.d"]),
            ("a.b.c.d.svc", vec!["a.b.c.d.svc"]),
            (
                "x.example",
                vec!["x.example", "x.example.svc.cluster.local", "x.example.ns.svc.cluster.local"],
            ),
        ] {
            assert_eq!(names(name, &[]), expected, "{name}");
        }
    }

    #[test]
    fn candidates_without_a_search_domain() {
        assert_eq!(
            names("www.example.com.ns.svc.cluster.local", &[]),
            [
                "www.example.com.ns.svc.cluster.local",
                "www.example.com from www.example.com",
                "www.example.com.svc.cluster.local from www.example.com",
                "www.example.com.ns from www.example.com.ns",
                "www.example.com.ns.svc from www.example.com.ns.svc",
            ]
        );
        assert_eq!(
            names("x.ns.svc.cluster.local", &[]),
            [
                "x.ns.svc.cluster.local",
                "x from x",
                "x.ns from x.ns",
                "x.ns.ns.svc.cluster.local from x.ns",
                "x.ns.svc from x.ns.svc",
                "x.ns.svc.svc.cluster.local from x.ns.svc",
            ]
        );
        assert_eq!(names("cluster.local", &[])[0], "cluster.local");
        assert!(names("xcluster.local", &[]).iter().all(|name| !name.contains(" from ")));
    }

    #[test]
    fn the_pods_own_search_list_counts() {
        let searches: [Str; 3] = ["Corp.Example.".into(), "".into(), ".".into()];
        assert_eq!(
            names("a.b.c.d.corp.example", &searches),
            ["a.b.c.d.corp.example", "a.b.c.d from a.b.c.d"]
        );
        assert_eq!(names("www.example.com.ns.svc.cluster.local", &searches).len(), 1);
    }

    #[test]
    fn wildcards_lose_label_by_label() {
        let all = |name| with_wildcards(name).collect::<Vec<_>>();
        assert_eq!(all("a.b.c"), ["a.b.c", "*.b.c", "*.c"]);
        assert_eq!(all("a"), ["a"]);
    }
}
