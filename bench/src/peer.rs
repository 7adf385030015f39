//! Who is measured, as data.

use std::path::PathBuf;

/// One of the columns of the comparison.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its name in results, on the command line, and the beginning of its nodes' and pods' names.
    pub(crate) name: &'static str,
    /// Whether the others are what it is compared with.
    pub(crate) subject: bool,
    /// The proxy of its nodes; none for the bare network.
    pub(crate) ztunnel: Option<Ztunnel>,
}

/// A node proxy that speaks ZDS and reads its state from `LOCAL_XDS_PATH`.
#[derive(Clone, Debug)]
pub(crate) struct Ztunnel {
    pub(crate) program: PathBuf,
    pub(crate) certificates: Certificates,
    /// Further environment variables.
    pub(crate) environment: &'static [(&'static str, &'static str)],
}

/// How a proxy gets its certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificates {
    /// Signed by a CA in a directory that the nodes share (`LOCAL_CA_DIR`).
    Directory,
    /// Made up by itself (`FAKE_CA=true`).
    Fake,
}

// === impl Peer ===

impl Peer {
    /// Cables and routes only.
    pub(crate) fn bare() -> Self {
        Self { name: "bare", subject: false, ztunnel: None }
    }

    /// Our own.
    pub(crate) fn ambit(program: PathBuf) -> Self {
        let certificates = Certificates::Directory;
        let ztunnel = Some(Ztunnel { program, certificates, environment: &[] });
        Self { name: "ambit", subject: true, ztunnel }
    }

    /// Somebody else's.
    pub(crate) fn other(program: PathBuf) -> Self {
        let certificates = Certificates::Fake;
        let ztunnel = Some(Ztunnel { program, certificates, environment: &[] });
        Self { name: "peer", subject: false, ztunnel }
    }
}
