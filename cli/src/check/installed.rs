//! What facts about an installed mesh mean. Pure.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use ambit_model::Finding;
use rustls_pki_types::CertificateDer;

use super::actor::Actor;
use crate::dump::Held;

/// How many of many are named.
const NAMED: usize = 3;

/// How far a proxy has come with what a controller sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// What the controller has published.
    pub(super) published: u64,
    /// What the proxy has answered last.
    pub(super) acked: u64,
    /// What it refused.
    pub(super) refused: Option<String>,
}

/// A pod as the mesh sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Capture {
    /// Namespace and name.
    pub(super) pod: String,
    /// Whether labels put it into the mesh.
    pub(super) wanted: bool,
    /// Whether an agent has captured it.
    pub(super) captured: bool,
}

/// Whether `labels` of a pod and of its namespace, and what it is, put it into the mesh (protocol.md 5.4).
pub(super) fn is_wanted(pod: Option<&str>, namespace: Option<&str>, is_kept_out: bool) -> bool {
    match (pod, namespace) {
        _ if is_kept_out => false,
        (Some("ambient"), _) => true,
        (Some("none"), _) => false,
        (_, mode) => mode == Some("ambient"),
    }
}

/// `wanted` replicas of the controller, and those that are there.
pub(super) fn controller(wanted: i64, replicas: &[Actor]) -> Finding {
    let check = "controller";
    let ready = replicas.iter().filter(|actor| actor.address.is_ok()).count();
    let found = format!("{ready} of {wanted} replicas are ready{}", problems(replicas));
    let next = "kubectl logs deployment/ambit-controller says why; the mesh runs on without changes meanwhile";
    match i64::try_from(ready) {
        Ok(ready) if ready >= wanted && ready > 0 => Finding::good(check, found),
        Ok(0) => Finding::bad(check, found, next),
        _ => Finding::warning(check, found, next),
    }
}

/// A DaemonSet that should have `wanted` pods.
pub(super) fn daemon(name: &str, wanted: i64, actors: &[Actor]) -> Finding {
    let ready = actors.iter().filter(|actor| actor.address.is_ok()).count();
    let found = format!("ready on {ready} of {wanted} nodes{}", problems(actors));
    match i64::try_from(ready) {
        Ok(ready) if ready >= wanted && ready > 0 => Finding::good(name, found),
        _ => Finding::bad(
            name,
            found,
            format!("kubectl describe daemonset/{name} and its pods say why"),
        ),
    }
}

fn problems(actors: &[Actor]) -> String {
    let problem = |actor: &Actor| {
        let problem = actor.address.as_ref().err()?;
        Some(format!("{} on {}: {problem}", actor.name, actor.node))
    };
    let all: Vec<String> = actors.iter().filter_map(problem).collect();
    if all.is_empty() { String::new() } else { format!("; {}", list(&all)) }
}

/// The versions of all our images.
pub(super) fn versions(images: &[&str]) -> Finding {
    let check = "version";
    let tag = |image: &&str| image.rsplit_once(':').map_or("latest", |(_, tag)| tag).to_owned();
    let tags: Vec<String> = images.iter().map(tag).collect::<BTreeSet<_>>().into_iter().collect();
    match tags.len() {
        1 => Finding::good(check, format!("{} everywhere", tags.concat())),
        _ => {
            Finding::warning(check, tags.join(" and "), "`ambit install` brings all to one version")
        }
    }
}

pub(super) fn captures(captures: &[Capture]) -> Finding {
    let check = "capture";
    let of = |kind: fn(&Capture) -> bool| -> Vec<String> {
        captures.iter().filter(|capture| kind(capture)).map(|capture| capture.pod.clone()).collect()
    };
    let missing = of(|capture| capture.wanted && !capture.captured);
    let left = of(|capture| !capture.wanted && capture.captured);
    let next = "kubectl logs daemonset/ambit-agent on the pod's node says why";
    match (missing.as_slice(), left.as_slice()) {
        ([], []) => {
            let all = captures.iter().filter(|capture| capture.captured).count();
            Finding::good(
                check,
                format!("all {all} pods that labels put into the mesh are captured"),
            )
        }
        ([], _) => Finding::warning(check, format!("still captured: {}", list(&left)), next),
        _ => Finding::bad(check, format!("not captured: {}", list(&missing)), next),
    }
}

/// The certificates of one proxy.
pub(super) fn certificates(held: &[Held], now: SystemTime) -> Finding {
    let check = "certificates";
    let next =
        "kubectl logs of this node's ztunnel and of the controller say why it gets no new one";
    let wrong = |one: &&Held| one.state != "Available";
    let wrong: Vec<String> =
        held.iter().filter(wrong).map(|one| format!("{} is {}", one.identity, one.state)).collect();
    if !wrong.is_empty() {
        return Finding::bad(check, list(&wrong), next);
    }
    let ends = held.iter().filter_map(|one| one.period).map(|(_, end)| end).min();
    let left = ends.map(|end| end.duration_since(now).unwrap_or_default());
    match left {
        None => Finding::good(check, "none is needed here"),
        Some(Duration::ZERO) => Finding::bad(check, "one has expired", next),
        Some(left) => {
            let minutes = left.as_secs() / 60;
            Finding::good(
                check,
                format!(
                    "{} are valid, the first one ends in {} h {} min",
                    held.len(),
                    minutes / 60,
                    minutes % 60
                ),
            )
        }
    }
}

/// Whether a proxy trusts exactly those `roots` that are published.
pub(super) fn roots(held: &[Held], roots: &[CertificateDer<'_>]) -> Finding {
    let check = "roots";
    let is_other = |one: &&Held| {
        !one.chain.is_empty()
            && (one.roots.len() != roots.len()
                || !one.roots.iter().all(|root| roots.contains(root)))
    };
    match held.iter().filter(is_other).count() {
        0 => Finding::good(check, format!("as published: {}", roots.len())),
        others => Finding::warning(
            check,
            format!(
                "{others} of {} certificates came with other roots than are published now",
                held.len()
            ),
            "that passes with their renewal; `ambit ca rotate --status` says whether it matters",
        ),
    }
}

/// The namespaces whose copy of the roots is missing or another one.
pub(super) fn copies(all: usize, wrong: &[String]) -> Finding {
    let check = "root copies";
    match wrong {
        [] => Finding::good(check, format!("the same in all {all} namespaces")),
        _ => Finding::bad(
            check,
            format!("ConfigMap istio-ca-root-cert is missing or another one in {}", list(wrong)),
            "kubectl logs deployment/ambit-controller says what keeps it from writing it",
        ),
    }
}

/// A proxy as the controller that it is connected to knows it.
pub(super) fn sync(progress: Option<&Progress>) -> Finding {
    let check = "in sync";
    match progress {
        None => Finding::bad(
            check,
            "not connected to any controller",
            "kubectl logs of this node's ztunnel says why; port 15012 of the controller must be reached",
        ),
        Some(Progress { refused: Some(refused), .. }) => Finding::bad(
            check,
            format!("refused: {refused}"),
            "bring ztunnel and controller to one version",
        ),
        Some(Progress { published, acked, .. }) if acked < published => Finding::warning(
            check,
            format!("at state {acked} of {published}"),
            "look again in a moment; a proxy that stays behind is overloaded or cut off",
        ),
        Some(Progress { published, .. }) => Finding::good(check, format!("at state {published}")),
    }
}

fn list(all: &[String]) -> String {
    let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use ambit_model::Level::{self, Bad, Good, Warning};

    use super::*;

    fn expect(finding: &Finding, level: Level, words: &str) {
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.found.contains(words), "{words}: {finding:?}");
        assert_eq!(finding.next.is_none(), level == Good, "{finding:?}");
    }

    fn actor(node: &str, problem: Option<&str>) -> Actor {
        let address = problem.map_or(Ok("10.0.0.1".parse().unwrap()), |text| Err(text.to_owned()));
        let name = format!("pod-{node}");
        Actor { node: node.into(), name, uid: "u".into(), image: "r/i:1".into(), address }
    }

    #[test]
    fn labels() {
        for (pod, namespace, kept_out, expected) in [
            (None, None, false, false),
            (None, Some("ambient"), false, true),
            (Some("ambient"), None, false, true),
            (Some("none"), Some("ambient"), false, false),
            (Some("sidecar"), Some("ambient"), false, true),
            (Some("ambient"), Some("ambient"), true, false),
        ] {
            assert_eq!(is_wanted(pod, namespace, kept_out), expected, "{pod:?} {namespace:?}");
        }
    }

    #[test]
    fn programs() {
        let (good, bad) = (actor("a", None), actor("b", Some("ErrImagePull")));
        expect(&controller(1, std::slice::from_ref(&good)), Good, "1 of 1");
        expect(&controller(2, &[good.clone(), bad.clone()]), Warning, "pod-b on b: ErrImagePull");
        expect(&controller(1, std::slice::from_ref(&bad)), Bad, "0 of 1");
        expect(&controller(0, &[]), Bad, "0 of 0");
        expect(&daemon("ztunnel", 1, std::slice::from_ref(&good)), Good, "1 of 1");
        expect(&daemon("ztunnel", 2, std::slice::from_ref(&good)), Bad, "1 of 2");
        expect(&daemon("ztunnel", 2, &[good, bad]), Bad, "ErrImagePull");
        expect(&versions(&["a/b:1", "a:5000/c:1"]), Good, "1 everywhere");
        expect(&versions(&["a/b:1", "a/c:2"]), Warning, "1 and 2");
    }

    #[test]
    fn pods() {
        let pod =
            |wanted, captured| Capture { pod: format!("{wanted}-{captured}"), wanted, captured };
        expect(&captures(&[pod(true, true), pod(false, false)]), Good, "all 1");
        expect(&captures(&[pod(true, false)]), Bad, "not captured: true-false");
        expect(&captures(&[pod(false, true)]), Warning, "still captured: false-true");
        let many: Vec<Capture> = (0..5).map(|_| pod(true, false)).collect();
        expect(&captures(&many), Bad, "and 2 more");
    }

    #[test]
    fn what_a_proxy_holds() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 30);
        let der = |text: &'static str| CertificateDer::from(text.as_bytes());
        let held = |state: &str, minutes: u64, roots: &[&'static str]| Held {
            identity: "spiffe://a".into(),
            state: state.into(),
            chain: vec![der("leaf")],
            roots: roots.iter().map(|root| der(root)).collect(),
            period: Some((now, now + Duration::from_secs(minutes * 60))),
        };
        let good = || held("Available", 61, &["new", "old"]);
        expect(&certificates(&[good()], now), Good, "1 h 1 min");
        expect(&certificates(&[], now), Good, "none");
        expect(&certificates(&[good(), held("Available", 0, &[])], now), Bad, "expired");
        expect(
            &certificates(&[held("Initializing", 9, &[])], now),
            Bad,
            "spiffe://a is Initializing",
        );
        let published = [der("old"), der("new")];
        expect(&roots(&[good()], &published), Good, "2");
        expect(&roots(&[held("Available", 1, &["old"]), good()], &published), Warning, "1 of 2");
        expect(&copies(3, &[]), Good, "3");
        expect(&copies(3, &["shop".into()]), Bad, "shop");
    }

    #[test]
    fn proxies() {
        let at = |acked, refused: Option<&str>| Progress {
            published: 5,
            acked,
            refused: refused.map(str::to_owned),
        };
        expect(&sync(None), Bad, "not connected");
        expect(&sync(Some(&at(5, None))), Good, "5");
        expect(&sync(Some(&at(4, None))), Warning, "4 of 5");
        expect(&sync(Some(&at(5, Some("x")))), Bad, "refused: x");
    }
}
