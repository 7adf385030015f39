//! The CNI plugin `ambit-cni`: a new pod in the mesh does not start before it is captured and served.
//!
//! It comes after the plugins that make the pod's network, changes nothing itself, and hands their result on. It asks
//! the agent; if that is silent, the API server; and if that is too, the agent's last list decides.

mod ask;
mod decide;
pub(crate) mod list;
pub(crate) mod log;
mod protocol;

use std::env;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use decide::{AgentSaid, ApiSaid, Verdict, by_agent, by_api, by_list};
use protocol::{CniError, NetConf, PodName};

/// The longest configuration that is read, in bytes.
const MAX_CONF: u64 = 1 << 20;

/// Does what the container runtime asks by environment and standard input, and answers on standard output.
pub fn plugin() -> ExitCode {
    let command = env::var("CNI_COMMAND").unwrap_or_default();
    let (version, outcome) = match command.as_str() {
        "VERSION" => (String::new(), Ok(protocol::versions())),
        "ADD" => add(),
        // Rules end with the pod's namespace, and the agent sees to the rest.
        "DEL" | "CHECK" | "GC" | "STATUS" => (String::new(), Ok(String::new())),
        _ => {
            let problem =
                format!("CNI_COMMAND={command:?} is not understood: this is a CNI plugin");
            (String::new(), Err(CniError::Environment(problem)))
        }
    };
    let (text, code) = match outcome {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (error.render(&version), ExitCode::FAILURE),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The version of the specification in which to answer, and the answer.
fn add() -> (String, Result<String, CniError>) {
    let mut text = String::new();
    if let Err(error) = io::stdin().take(MAX_CONF).read_to_string(&mut text) {
        return (String::new(), Err(CniError::Decode(error.to_string())));
    }
    match NetConf::parse(&text) {
        Ok(conf) => (conf.cni_version.clone(), add_pod(&conf)),
        Err(error) => (String::new(), Err(error)),
    }
}

fn add_pod(conf: &NetConf) -> Result<String, CniError> {
    let previous = conf.prev_result.as_ref().ok_or(CniError::Config(
        "there is no prevResult: put this plugin after the one that makes the network",
    ))?;
    let netns = env::var("CNI_NETNS").unwrap_or_default();
    let Some(pod) = PodName::parse(&env::var("CNI_ARGS").unwrap_or_default()) else {
        return Ok(previous.to_string());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CniError::TryAgain(format!("cannot start: {error}")))?;
    let verdict = runtime.block_on(judge(conf, &pod, &netns));
    let (outcome, why) = match &verdict {
        Verdict::Pass(why) => ("pass", *why),
        Verdict::Refuse(why) => ("refuse", why.as_str()),
    };
    log::write(&conf.run_dir, &format!("ADD {}/{} {outcome}: {why}", pod.namespace, pod.name));
    match verdict {
        Verdict::Pass(_) => Ok(previous.to_string()),
        Verdict::Refuse(why) => {
            Err(CniError::TryAgain(format!("pod {}/{}: {why}", pod.namespace, pod.name)))
        }
    }
}

async fn judge(conf: &NetConf, pod: &PodName, netns: &str) -> Verdict {
    let exclusions = conf.exclusions();
    if exclusions.namespaces.contains(&pod.namespace)
        || exclusions.system_namespace == pod.namespace
    {
        return Verdict::Pass("a namespace that never waits");
    }
    let said = ask::agent(&conf.run_dir, &conf.cmd_add(pod, netns)).await;
    if let Some(verdict) = by_agent(&said) {
        return verdict;
    }
    let (AgentSaid::Nothing(agent) | AgentSaid::NotReady(agent)) = said else {
        return Verdict::Pass("the agent has seen to it");
    };
    let said = ask::api(&conf.kubeconfig, pod, &exclusions).await;
    if let Some(verdict) = by_api(&agent, &said) {
        return verdict;
    }
    let problem = match said {
        ApiSaid::Nothing(api) => format!("{agent}; {api}"),
        _ => agent,
    };
    by_list(&pod.namespace, list::read(&conf.last_list).ok().as_deref(), &problem)
}
