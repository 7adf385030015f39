//! Whether a new pod may start: decisions alone.

use crate::kubernetes::membership::Membership;

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It starts.
    Pass(&'static str),
    /// It does not, and the kubelet tries again.
    Refuse(String),
}

/// What the agent said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AgentSaid {
    /// The pod is captured and served, or is none of the mesh's.
    Ready,
    /// It is the mesh's, and not captured.
    NotReady(String),
    /// Nothing, or that it does not know.
    Nothing(String),
}

/// What the API server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiSaid {
    /// Whether the pod is in the mesh.
    Pod(Membership),
    /// There is no such pod.
    NoPod,
    /// Nothing.
    Nothing(String),
}

/// By what the agent said; `None`: the API server has to be asked.
pub(crate) fn by_agent(said: &AgentSaid) -> Option<Verdict> {
    match said {
        AgentSaid::Ready => Some(Verdict::Pass("the agent has seen to it")),
        AgentSaid::NotReady(problem) => {
            Some(Verdict::Refuse(format!("ambit-agent has not captured the pod: {problem}")))
        }
        AgentSaid::Nothing(_) => None,
    }
}

/// By what the API server said when the agent had said nothing; `None`: the list has to decide.
pub(crate) fn by_api(agent: &str, said: &ApiSaid) -> Option<Verdict> {
    match said {
        ApiSaid::Pod(Membership::Member) => Some(Verdict::Refuse(format!(
            "the pod is in the mesh and ambit-agent cannot capture it: {agent}: see the agent's pod on this node"
        ))),
        ApiSaid::Pod(Membership::Outside(_)) => Some(Verdict::Pass("not in the mesh")),
        ApiSaid::NoPod => Some(Verdict::Refuse("the pod does not exist any more".to_owned())),
        ApiSaid::Nothing(_) => None,
    }
}

/// By the agent's last list when nobody could be asked. Without a list, nothing is known to be outside the mesh.
pub(crate) fn by_list(namespace: &str, list: Option<&[String]>, problem: &str) -> Verdict {
    match list {
        Some(list) if !list.iter().any(|name| name == namespace) => {
            Verdict::Pass("nobody to ask, and not in a namespace of the mesh")
        }
        Some(_) => Verdict::Refuse(format!(
            "namespace {namespace} is in the mesh and neither ambit-agent nor the API server can be asked: {problem}"
        )),
        None => Verdict::Refuse(format!(
            "it cannot be known whether the pod is in the mesh, and there is no list of its namespaces: {problem}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::membership::Reason;

    fn decide(agent: AgentSaid, api: ApiSaid, list: Option<&[&str]>) -> bool {
        let list: Option<Vec<String>> =
            list.map(|list| list.iter().map(|name| (*name).to_owned()).collect());
        let verdict = by_agent(&agent)
            .or_else(|| by_api("down", &api))
            .unwrap_or_else(|| by_list("shop", list.as_deref(), "down"));
        matches!(verdict, Verdict::Pass(_))
    }

    #[test]
    fn whoever_knows_decides_and_doubt_refuses() {
        let down = || AgentSaid::Nothing("down".into());
        let gone = || ApiSaid::Nothing("gone".into());
        let outside = || ApiSaid::Pod(Membership::Outside(Reason::NotSelected));
        let member = || ApiSaid::Pod(Membership::Member);
        for (agent, api, list, passes) in [
            (AgentSaid::Ready, member(), Some(&["shop"][..]), true),
            (AgentSaid::NotReady("x".into()), outside(), None, false),
            (down(), member(), None, false),
            (down(), outside(), Some(&["shop"]), true),
            (down(), ApiSaid::NoPod, None, false),
            (down(), gone(), Some(&["shop"]), false),
            (down(), gone(), Some(&["bank"]), true),
            (down(), gone(), Some(&[]), true),
            (down(), gone(), None, false),
        ] {
            let case = format!("{agent:?} {api:?} {list:?}");
            assert_eq!(decide(agent, api, list), passes, "{case}");
        }
    }
}
