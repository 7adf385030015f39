//! `ambit up examples/hello --demo`: what the mesh does, shown step by step, each claim checked.
//!
//! The objects are copied first, because the demonstration edits them while they are in force.

mod capture;
mod certificates;
mod left;
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use ambit_sandbox::{Options, Sandbox, Source};
use anyhow::{Context, Result, ensure};

use crate::terminal::{Style, Terminal};
use crate::up::{GRACE, one_line};
use capture::Capture;
use stage::{NEIGHBOUR, OUTSIDER, Stage, VISITOR, eventually};

/// A policy that shuts out who has no identity.
const STRICT: &str = "\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: strict
  namespace: hello
spec:
  mtls:
    mode: STRICT
";

/// A policy that names who may call the server.
const CALLERS: &str = "\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: callers
  namespace: hello
spec:
  selector:
    matchLabels:
      app: server
  action: ALLOW
  rules:
    - from:
        - source:
            principals:
              - cluster.local/ns/hello/sa/neighbour
              - cluster.local/ns/visitors/sa/visitor
";
/// The line of [`CALLERS`] that is taken out.
const VISITOR_LINE: &str = "              - cluster.local/ns/visitors/sa/visitor\n";

/// How long pods and programs may take to come up.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Runs the demonstration.
///
/// # Errors
/// A claim does not hold, or the sandbox cannot be made.
pub(crate) async fn run(options: Options, dir: &Path, terminal: Terminal) -> Result<()> {
    let started = Instant::now();
    left::sweep_copies();
    let copy = tempfile::Builder::new().prefix(&left::copy_prefix()).tempdir()?;
    copy_objects(dir, copy.path())?;
    let instance = format!("demo-{}", std::process::id());
    let traces = left::Traces::before(&instance, copy.path());
    let options = Options {
        instance: Some(instance),
        source: Source::Directory(copy.path().to_owned()),
        ..options
    };
    terminal.line(Style::Title, "1  Two nodes and four pods, from ordinary Kubernetes YAML");
    let sandbox = Sandbox::start(options).await.map_err(one_line)?;
    let stage = Stage { sandbox: &sandbox, terminal, dir: copy.path() };
    let run_dir = sandbox.instance().dir().to_owned();
    let shown = show(&stage, started).await;
    terminal.line(Style::Title, "7  The end");
    let stopped = sandbox.stop(GRACE).await.map_err(one_line);
    let copied = copy.close().context("the copied objects cannot be removed");
    shown.and(stopped).and(copied)?;
    traces.check(&run_dir)?;
    terminal.line(Style::Good, "   ✓ no namespace, process, rule or file is left");
    terminal.line(
        Style::Title,
        &format!("All of it held, in {:.1} s.", started.elapsed().as_secs_f64()),
    );
    Ok(())
}

/// All steps between start and end.
async fn show(stage: &Stage<'_>, started: Instant) -> Result<()> {
    stage.sandbox.ready(START_LIMIT).await.map_err(one_line)?;
    cluster(stage, started)?;
    stage.title("2  Pods call a service by its name; the mesh knows who they are");
    call(stage).await?;
    stage.title("3  What went over the wire between the nodes");
    wire(stage).await?;
    stage.title("4  The certificates in use");
    certificates::show(stage).await?;
    stage.title("5  STRICT: who has no identity stays out");
    strict(stage).await?;
    stage.title("6  A policy is edited, and the connection that it forbids ends");
    policy(stage).await
}

fn copy_objects(from: &Path, to: &Path) -> Result<()> {
    for entry in
        std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?
    {
        let entry = entry?;
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Step 1.
fn cluster(stage: &Stage<'_>, started: Instant) -> Result<()> {
    let pods = stage.sandbox.pods();
    for pod in &pods {
        let mesh = if pod.is_meshed() { "in the mesh" } else { "outside the mesh" };
        let key = pod.key().to_string();
        stage.say(&format!("   {key:<28} {:<8} {:<12} {mesh}", pod.node(), pod.ip().to_string()));
    }
    let nodes = stage.sandbox.nodes().count();
    let outside: Vec<String> =
        pods.iter().filter(|pod| !pod.is_meshed()).map(|pod| pod.key().to_string()).collect();
    ensure!(nodes == 2 && pods.len() == 4, "expected 2 nodes and 4 pods, as in examples/hello");
    ensure!(outside == [OUTSIDER], "expected {OUTSIDER} alone outside the mesh, found {outside:?}");
    let seconds = started.elapsed().as_secs_f64();
    stage.hold(&format!("all are ready after {seconds:.1} s; nothing was added to a pod"));
    Ok(())
}

/// Step 2.
async fn call(stage: &Stage<'_>) -> Result<()> {
    let seen = stage.call(VISITOR, "/welcome", "").await?;
    let visitor = stage.sandbox.pod(VISITOR).map_err(one_line)?.ip().to_string();
    ensure!(
        seen.peer.ip().to_string() == visitor,
        "the server saw {} and not {visitor}",
        seen.peer
    );
    stage.hold(&format!("the server saw the pod's own address, {visitor}"));
    let principal = "spiffe://cluster.local/ns/visitors/sa/visitor";
    let counted = stage.connections("node-1", &["mutual_tls", principal]).await?;
    ensure!(counted > 0, "the server's ztunnel counted no connection from {principal}");
    stage.hold(&format!("its node counted a connection over mutual TLS from {principal}"));
    stage.call(NEIGHBOUR, "/welcome", "").await?;
    let principal = "spiffe://cluster.local/ns/hello/sa/neighbour";
    let counted = stage.connections("node-1", &["node_local", principal]).await?;
    ensure!(counted > 0, "the server's ztunnel counted no local connection from {principal}");
    stage.hold(&format!("a pod of the same node is known as well, as {principal}"));
    Ok(())
}

/// Step 3.
async fn wire(stage: &Stage<'_>) -> Result<()> {
    let secret = |word: &str| format!("{word}-{:016x}", rand_word());
    let (inside, outside) = (secret("meshed"), secret("plain"));
    let capture = Capture::start(stage).await?;
    stage.call(VISITOR, "/", &inside).await?;
    stage.call(OUTSIDER, "/", &outside).await?;
    let found = capture.stop(&outside).await?;
    for line in found.sample() {
        stage.say(&format!("   {line}"));
    }
    // Without this the search could simply be broken.
    ensure!(found.contains(&outside), "the plaintext of the pod outside the mesh was not captured");
    stage.hold("the capture holds the header of the pod outside the mesh, which sent plaintext");
    ensure!(!found.contains(&inside), "the plaintext of the meshed pod was on the wire");
    ensure!(found.tls_records() > 0, "no TLS was captured");
    stage.hold(&format!(
        "it does not hold that of the meshed pod: {} TLS records went to port 15008",
        found.tls_records()
    ));
    Ok(())
}

/// Step 5.
async fn strict(stage: &Stage<'_>) -> Result<()> {
    stage.attempt(OUTSIDER).await?.context("the pod outside the mesh should get through so far")?;
    stage.write("40-strict.yaml", STRICT)?;
    let shut = eventually("the pod outside the mesh is shut out", async || {
        Ok(stage.attempt(OUTSIDER).await?.err().map(|error| error.to_string()))
    });
    let refusal = shut.await?;
    stage.say(&format!("   {OUTSIDER}: {refusal}"));
    stage.hold("the pod outside the mesh is shut out");
    stage.attempt(VISITOR).await?.context("the meshed pod should still get through")?;
    stage.hold("the meshed pod still gets through");
    Ok(())
}

/// Step 6.
async fn policy(stage: &Stage<'_>) -> Result<()> {
    stage.write("50-callers.yaml", CALLERS)?;
    let mut open = stage.open(VISITOR)?;
    let greeting = open.greeting().await?;
    stage.say(&format!("   {VISITOR} holds a connection: {greeting}"));
    ensure!(open.is_open(), "the connection ended by itself");
    let edited = CALLERS.replace(VISITOR_LINE, "");
    ensure!(edited != CALLERS, "the policy has no line to take out");
    stage.note("50-callers.yaml, without the visitor:");
    let saved = Instant::now();
    stage.write("50-callers.yaml", &edited)?;
    open.ended().await?;
    let after = saved.elapsed().as_millis();
    stage.hold(&format!("its connection was closed {after} ms after the file was saved"));
    let error = stage.attempt(VISITOR).await?.err().context("the visitor should be refused now")?;
    stage.say(&format!("   {VISITOR}: {error}"));
    stage.hold("a new one is refused");
    stage.attempt(NEIGHBOUR).await?.context("the neighbour should still get through")?;
    stage.hold("the neighbour, whom the policy still names, gets through");
    Ok(())
}

/// Something that nobody else sends.
fn rand_word() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one("ambit")
}
