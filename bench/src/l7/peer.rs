//! Who is measured: Ambit, and other proxies with the same routes, tries, limits of access and number of threads.

mod envoy;
mod haproxy;
pub(super) mod nginx;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Threads of each proxy.
pub(crate) const THREADS: usize = 2;
/// Where servers and proxies take HTTP/1.1.
pub(crate) const HTTP_PORT: u16 = 8080;
/// Where servers and proxies take gRPC.
pub(crate) const GRPC_PORT: u16 = 8081;
/// The beginning of the paths of gRPC calls.
pub(crate) const GRPC_PREFIX: &str = "/grpc.health.v1.Health/";
/// How the two servers of each route share the requests.
pub(crate) const WEIGHTS: [u32; 2] = [90, 10];
/// How often a request is tried again.
pub(crate) const RETRIES: u32 = 2;

/// One of the columns of the comparison.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its name in results, on the command line, and the beginning of its pods' names.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// What stands between client and server.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Nothing.
    Bare,
    /// Our own.
    Ambit,
    /// Somebody else's program.
    Other { program: PathBuf, configure: Configure },
}

/// Writes a proxy's configuration into a directory, and returns the arguments that name it.
type Configure = fn(&Path, &Task) -> anyhow::Result<Vec<String>>;

/// What a proxy has to do.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// How many routes it has; all lead to the same servers.
    pub(crate) routes: u32,
    pub(crate) servers: [IpAddr; 2],
}

// === impl Peer ===

impl Peer {
    pub(crate) fn bare() -> Self {
        Self { name: "bare", kind: Kind::Bare }
    }

    pub(crate) fn ambit() -> Self {
        Self { name: "ambit", kind: Kind::Ambit }
    }

    pub(crate) fn envoy(program: PathBuf) -> Self {
        Self { name: "envoy", kind: Kind::Other { program, configure: envoy::configure } }
    }

    pub(crate) fn nginx(program: PathBuf) -> Self {
        Self { name: "nginx", kind: Kind::Other { program, configure: nginx::configure } }
    }

    pub(crate) fn haproxy(program: PathBuf) -> Self {
        Self { name: "haproxy", kind: Kind::Other { program, configure: haproxy::configure } }
    }

    /// The name of its pod with so many routes.
    pub(crate) fn pod(&self, routes: u32) -> String {
        format!("{}-{routes}", self.name)
    }
}

/// The beginning of the paths of a route.
pub(crate) fn prefix(route: u32) -> String {
    format!("/r{route}/")
}

fn write(path: &Path, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
