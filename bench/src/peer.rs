//! Who is measured, as data.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use serde::Serialize;

use crate::figure::{OTHER, SUBJECT};
use crate::options::chosen;
use crate::tools::is_program;

/// One of the columns of the comparison.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its name in results, on the command line, and the beginning of its nodes' and pods' names.
    pub(crate) name: &'static str,
    /// The proxy of its nodes; none for the bare network.
    pub(crate) ztunnel: Option<Ztunnel>,
}

/// A node proxy that speaks ZDS and reads its state from `LOCAL_XDS_PATH`.
#[derive(Clone, Debug)]
pub(crate) struct Ztunnel {
    pub(crate) program: PathBuf,
    pub(crate) certificates: Certificates,
    /// Further environment variables.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// Where the programs of the comparison are.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Programs {
    /// A proxy to compare with: any ztunnel that speaks ZDS and reads LOCAL_XDS_PATH.
    #[arg(long, env = "PEER_ZTUNNEL", value_name = "FILE")]
    peer_ztunnel: Option<PathBuf>,
    /// Ambit's own ztunnel, if not the one beside this program.
    #[arg(long, value_name = "FILE")]
    ztunnel: Option<PathBuf>,
}

/// A peer as results name it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PeerName {
    pub(crate) name: &'static str,
    /// Its proxy; `None` for the bare network.
    pub(crate) program: Option<String>,
}

/// How a proxy gets its certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificates {
    /// Signed by a CA in a directory that the nodes share (`LOCAL_CA_DIR`).
    Directory,
    /// Made up by itself (`FAKE_CA=true`).
    Fake,
}

// === impl Programs ===

impl Programs {
    /// Who is to be measured, of those named; the bare network always goes first.
    ///
    /// # Errors
    /// A program is not there, or a name is unknown.
    pub(crate) fn peers(&self, names: &[String]) -> anyhow::Result<Vec<Peer>> {
        let ours = match &self.ztunnel {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("ztunnel"),
        };
        // A variable that is set to nothing is as good as none.
        let other = self.peer_ztunnel.as_ref().filter(|program| !program.as_os_str().is_empty());
        let mut all = vec![Peer::bare(), Peer::new(SUBJECT, &ours, Certificates::Directory)];
        all.extend(other.map(|program| Peer::new(OTHER, program, Certificates::Fake)));
        let mut peers = chosen(&all, names, "peer", |peer| peer.name)?;
        for ztunnel in peers.iter_mut().filter_map(|peer| peer.ztunnel.as_mut()) {
            let program = &mut ztunnel.program;
            ensure!(
                is_program(program),
                "{} is no program: build it with `cargo build --release -p ambit-ztunnel`, or name one with --ztunnel \
                 (Ambit's) or PEER_ZTUNNEL (the peer's)",
                program.display()
            );
            // It is started from another directory.
            *program = program.canonicalize()?;
        }
        Ok(peers)
    }
}

// === impl Peer ===

impl Peer {
    /// Cables and routes only.
    pub(crate) fn bare() -> Self {
        Self { name: "bare", ztunnel: None }
    }

    fn new(name: &'static str, program: &Path, certificates: Certificates) -> Self {
        let program = program.to_owned();
        Self { name, ztunnel: Some(Ztunnel { program, certificates, environment: Vec::new() }) }
    }

    /// The same proxy with one more environment variable; the bare network is as it was.
    pub(crate) fn with(mut self, variable: &'static str, value: &str) -> Self {
        if let Some(ztunnel) = &mut self.ztunnel {
            ztunnel.environment.push((variable, value.to_owned()));
        }
        self
    }
}

// === impl PeerName ===

impl From<&Peer> for PeerName {
    fn from(peer: &Peer) -> Self {
        let program = peer.ztunnel.as_ref().map(|ztunnel| ztunnel.program.display().to_string());
        Self { name: peer.name, program }
    }
}
