//! Where it happens: one node with a client, two servers and every proxy in a pod of its own; and, in a namespace that
//! is in the mesh, another client before a service with a waypoint.

mod objects;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ambit_sandbox::{Binaries, Component, Options, PodHandle, Room, Sandbox, Settings, Source};
use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use super::peer::{GRPC_PORT, HTTP_PORT, Kind, Peer, Task, prefix};
use super::scenario::{Body, ROUTES, Scenario, Way};
use super::{Tools, server};
use crate::scenario::CONGESTION_CONTROL;

/// The namespace of the proxies, which is not in the mesh.
const PLAIN: &str = "plain";
/// The one that is.
const MESH: &str = "mesh";
/// The names of the servers, in either namespace.
const SERVERS: [&str; 2] = ["server-0", "server-1"];
/// How long everything may take to be up.
const LIMIT: Duration = Duration::from_secs(60);
/// The controller's diagnostics.
const CONTROLLER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15014);
/// How often it is asked whether it is.
const INTERVAL: Duration = Duration::from_millis(100);

/// All of it. Dropping it ends every process inside and removes every namespace.
pub(crate) struct Testbed {
    sandbox: Sandbox,
    waypoint: Option<IpAddr>,
    dir: PathBuf,
}

/// How long one change took, seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Update {
    /// Until it was in force, with what the sandbox takes to write it and the controller to read all that it was sent.
    pub(crate) seconds: f64,
    /// From when the controller had seen it until every proxy had said that it has it.
    pub(crate) since_seen: f64,
}

/// Where a load comes from, where it goes, and whose cost it is.
pub(crate) struct Target {
    pub(crate) client: PodHandle,
    pub(crate) address: IpAddr,
    /// Without the last segment.
    pub(crate) path: String,
    /// The proxy's processes; none where there is no proxy.
    pub(crate) proxy: Vec<u32>,
}

// === impl Testbed ===

impl Testbed {
    /// Starts everything that the scenarios need for the peers; returns when all proxies answer.
    ///
    /// # Errors
    /// Privileges or programs are missing, or something does not become ready; each message says what to do.
    pub(crate) async fn build(
        peers: &[Peer],
        scenarios: &[Scenario],
        (tools, echo): (&Tools, &Path),
    ) -> anyhow::Result<Self> {
        let waypoint = scenarios.iter().any(|scenario| scenario.way == Way::Waypoint);
        let settings = Settings {
            waypoint_env: objects::waypoint_env().into(),
            ..Settings::from(Binaries::beside_this()?)
        };
        let mut options =
            Options::new(Source::Text(objects::namespaces(PLAIN, MESH))).with_mesh(settings);
        options.nodes = vec!["node-1".to_owned()];
        options.congestion_control = Some(CONGESTION_CONTROL.to_owned());
        let sandbox = Sandbox::start(options).await?;
        let dir = sandbox.instance().dir().join("l7");
        let mut testbed = Self { sandbox, waypoint: None, dir };
        let servers = testbed.servers(tools, echo).await?;
        for routes in routes(scenarios) {
            testbed.proxies(peers, &Task { routes, servers }).await?;
        }
        if waypoint && peers.iter().any(|peer| matches!(peer.kind, Kind::Ambit)) {
            testbed.apply(objects::waypoint(MESH, &SERVERS)).await?;
            testbed.sandbox.ready(LIMIT).await?;
            testbed.waypoint =
                testbed.sandbox.service(MESH, "servers")?.into_iter().find(IpAddr::is_ipv4);
        }
        for scenario in scenarios {
            for peer in peers {
                testbed.until_served(peer, scenario).await?;
            }
        }
        Ok(testbed)
    }

    /// Starts clients and servers.
    async fn servers(&mut self, tools: &Tools, echo: &Path) -> anyhow::Result<[IpAddr; 2]> {
        for namespace in [PLAIN, MESH] {
            self.apply(objects::pod(
                namespace,
                "client",
                &["sleep".to_owned(), "infinity".to_owned()],
                None,
            ))
            .await?;
            for name in SERVERS {
                let command =
                    server::command(&self.dir, &format!("{namespace}-{name}"), (tools, echo))?;
                self.apply(objects::pod(namespace, name, &command, Some(GRPC_PORT))).await?;
            }
        }
        self.sandbox.ready(LIMIT).await?;
        let address = |name| self.pod(PLAIN, name).map(|pod| pod.ip());
        Ok([address(SERVERS[0])?, address(SERVERS[1])?])
    }

    /// Starts each peer's proxy for a task.
    async fn proxies(&self, peers: &[Peer], task: &Task) -> anyhow::Result<()> {
        for peer in peers {
            let name = peer.pod(task.routes);
            match &peer.kind {
                Kind::Bare => {}
                Kind::Ambit => {
                    self.apply(objects::gateway(PLAIN, &name, task.routes, &SERVERS)).await?
                }
                Kind::Other { program, configure } => {
                    let dir = self.dir.join(&name);
                    fs::create_dir_all(&dir)
                        .with_context(|| format!("cannot create {}", dir.display()))?;
                    let mut command = vec![program.display().to_string()];
                    command.extend(configure(&dir, task)?);
                    self.apply(objects::pod(PLAIN, &name, &command, Some(HTTP_PORT))).await?;
                }
            }
        }
        Ok(self.sandbox.ready(LIMIT).await?)
    }

    async fn apply(&self, yaml: String) -> anyhow::Result<()> {
        self.sandbox.apply(&yaml).await?;
        Ok(())
    }

    fn pod(&self, namespace: &str, name: &str) -> anyhow::Result<PodHandle> {
        Ok(self.sandbox.pod(&format!("{namespace}/{name}"))?)
    }

    /// Where the peer does what the scenario asks for; `None` if it does not do that.
    ///
    /// # Errors
    /// Something has ended.
    pub(crate) fn target(
        &self,
        peer: &Peer,
        scenario: &Scenario,
    ) -> anyhow::Result<Option<Target>> {
        let last = |routes: u32| prefix(routes.saturating_sub(1));
        Ok(match (scenario.way, &peer.kind) {
            (Way::Gateway { routes }, Kind::Bare) => Some(Target {
                client: self.pod(PLAIN, "client")?,
                address: self.pod(PLAIN, SERVERS[0])?.ip(),
                path: last(routes),
                proxy: Vec::new(),
            }),
            (Way::Gateway { routes }, _) => {
                let pod = self.pod(PLAIN, &peer.pod(routes))?;
                let proxy = processes(pod.room())?;
                ensure!(!proxy.is_empty(), "{} has ended", pod.key());
                Some(Target {
                    client: self.pod(PLAIN, "client")?,
                    address: pod.ip(),
                    path: last(routes),
                    proxy,
                })
            }
            (Way::Waypoint, Kind::Ambit) => {
                let pod = self.pod(MESH, "waypoint")?;
                let address = self.waypoint.context("there is no waypoint")?;
                let proxy = processes(pod.room())?;
                Some(Target { client: self.pod(MESH, "client")?, address, path: last(1), proxy })
            }
            (Way::Waypoint, _) => None,
        })
    }

    /// Waits until the peer answers the last route, and the policy holds.
    async fn until_served(&self, peer: &Peer, scenario: &Scenario) -> anyhow::Result<()> {
        let Some(target) = self.target(peer, scenario)? else { return Ok(()) };
        let address = SocketAddr::new(target.address, HTTP_PORT);
        let path = format!("{}{}", target.path, Body::Small.name());
        let room = target.client.room();
        let deadline = Instant::now() + LIMIT;
        loop {
            let (asked, forbidden) = (path.clone(), path.clone());
            let statuses = room.run(move || {
                [status(address, "GET", &asked), status(address, "DELETE", &forbidden)]
            })?;
            match statuses {
                [Ok(200), Ok(403)] => return Ok(()),
                // The servers themselves have no policy.
                [Ok(200), Ok(_)] if matches!(peer.kind, Kind::Bare) => return Ok(()),
                other if Instant::now() > deadline => bail!(
                    "{}, {}: GET and DELETE of http://{address}{path} end in {other:?} instead of 200 and 403",
                    peer.name,
                    scenario.id
                ),
                _ => tokio::time::sleep(INTERVAL).await,
            }
        }
    }

    /// Changes a route of Ambit's gateway with so many routes `count` times, and finds out how long each time requests
    /// are still answered by the old one.
    ///
    /// # Errors
    /// A change never comes into force.
    pub(crate) async fn updates(&self, routes: u32, count: u32) -> anyhow::Result<Vec<Update>> {
        const PATH: &str = "/.versioned";
        let gateway = Peer::ambit().pod(routes);
        let (pod, client) = (self.pod(PLAIN, &gateway)?, self.pod(PLAIN, "client")?);
        let address = SocketAddr::new(pod.ip(), HTTP_PORT);
        let mut took = Vec::new();
        // The first one adds the route.
        for version in 0..=count {
            // Nobody can have seen it before, so what is measured is never too little.
            let before = self.propagation()?;
            let began = Instant::now();
            self.apply(objects::versioned(PLAIN, &gateway, PATH, version)).await?;
            let wanted = format!("/{version}\r\n");
            while !client
                .room()
                .run(move || answer(address, "GET", PATH))
                .flatten()?
                .contains(&wanted)
            {
                ensure!(
                    began.elapsed() < LIMIT,
                    "version {version} of a route of {gateway} is not in force"
                );
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let seconds = began.elapsed().as_secs_f64();
            let mut after = self.propagation()?;
            while after.0 == before.0 {
                ensure!(
                    began.elapsed() < LIMIT,
                    "version {version} of a route is never acknowledged"
                );
                tokio::time::sleep(Duration::from_millis(1)).await;
                after = self.propagation()?;
            }
            let since_seen = (after.1 - before.1) / (after.0 - before.0);
            took.extend((version > 0).then_some(Update { seconds, since_seen }));
        }
        Ok(took)
    }

    /// How many changes have arrived at every proxy, and the seconds that they took in all since the controller saw them.
    fn propagation(&self) -> anyhow::Result<(f64, f64)> {
        let metrics =
            self.sandbox.fabric().run(|| answer(CONTROLLER, "GET", "/metrics")).flatten()?;
        let value = |end: &str| {
            let name = format!("ambit_controller_config_propagation_seconds_{end} ");
            let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
            let value = line.and_then(|value| value.trim().parse::<f64>().ok());
            value.with_context(|| format!("the controller's metrics have no {name}"))
        };
        Ok((value("count")?, value("sum")?))
    }

    /// The tunnel of the node, which carries what goes to the waypoint and on from it.
    pub(crate) fn tunnel(&self) -> anyhow::Result<Vec<u32>> {
        let pid = self.sandbox.component_pid(&Component::Ztunnel("node-1".to_owned()))?;
        Ok(pid.into_iter().collect())
    }
}

/// The numbers of routes that the scenarios ask for.
pub(super) fn routes(scenarios: &[Scenario]) -> impl Iterator<Item = u32> {
    let asked = |routes: &u32| scenarios.iter().any(|s| s.way == Way::Gateway { routes: *routes });
    ROUTES.into_iter().filter(asked)
}

/// Every process of a pod.
fn processes(room: &Room) -> anyhow::Result<Vec<u32>> {
    let inside = fs::read_link(room.path())?;
    let of = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        (fs::read_link(entry.path().join("ns/net")).ok()? == inside).then_some(pid)
    };
    Ok(fs::read_dir("/proc")?.flatten().filter_map(of).collect())
}

/// The head of the answer to a request without a body, and perhaps more.
fn answer(address: SocketAddr, method: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The status of the answer to a request without a body.
fn status(address: SocketAddr, method: &str, path: &str) -> io::Result<u16> {
    let answer = answer(address, method, path)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
