//! The directory of a certificate authority: reading it, making it once.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::SystemTime;

use ambit_tls::pem::MAX_PEM_BYTES;
use ambit_tls::read_bounded;
use tracing::info;

use super::error::{CA_CERT, CA_KEY, CERT_CHAIN, LocalCaError, ROOT_CERT};
use super::files::{Files, Origin};
use super::signer::LocalCa;

/// Held by the process that makes the files.
const LOCK: &str = ".lock";
/// There while the files are being made; left behind by a maker that was killed, whose work is then done again.
const MAKING: &str = ".making";

/// What a complete directory holds, in the order in which they are made.
const FILES: [&str; 3] = [CA_KEY, CA_CERT, ROOT_CERT];

// === impl LocalCa ===

impl LocalCa {
    /// Opens the certificate authority in `dir`; makes it (ECDSA P-256, 10 years) if `dir` is missing or empty.
    ///
    /// Files as in Istio's `cacerts` Secret: `root-cert.pem` (all roots that are trusted, during a rotation more than
    /// one), `ca-cert.pem` (the signer), `ca-key.pem`, and optionally `cert-chain.pem` (from the signer to its root).
    /// Safe when several processes start at once: all end with the same one. Blocks on files.
    ///
    /// # Errors
    /// The file at fault and the next step; a directory that is only half filled is left as it is.
    pub fn open_or_create(dir: &Path, now: SystemTime) -> Result<Self, LocalCaError> {
        if !settled(dir) {
            create(dir, now)?;
        }
        read_all(dir)?.into_ca(&Origin::Dir(dir.to_owned()), now)
    }

    /// The certificate authority that `files` describe; `place` is where they are kept, for messages.
    ///
    /// # Errors
    /// The file at fault and the next step.
    pub fn from_files(files: Files, place: &str, now: SystemTime) -> Result<Self, LocalCaError> {
        files.into_ca(&Origin::Dir(place.into()), now)
    }

    /// A new certificate authority that is kept nowhere.
    ///
    /// # Errors
    /// No random numbers, in effect.
    pub fn in_memory(now: SystemTime) -> Result<Self, LocalCaError> {
        Files::make(now)?.into_ca(&Origin::Memory, now)
    }
}

/// Whether all files are there and nobody is still making them.
fn settled(dir: &Path) -> bool {
    // In this order: the maker removes its mark last.
    present(dir) == FILES.len() && !dir.join(MAKING).exists()
}

/// How many of the files are there.
fn present(dir: &Path) -> usize {
    FILES.into_iter().filter(|name| dir.join(name).exists()).count()
}

/// Makes the files unless somebody else does first. Leaves alone what it did not make.
fn create(dir: &Path, now: SystemTime) -> Result<(), LocalCaError> {
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| LocalCaError::Write { path, source }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(write(dir))?;
    let (making, lock) = (dir.join(MAKING), dir.join(LOCK));
    if present(dir) > 0 && !making.exists() && !lock.exists() {
        return Ok(()); // Half filled by hand; reading it names what is missing.
    }
    let mut options = OpenOptions::new();
    let opened = options.create(true).truncate(false).write(true).mode(0o600).open(&lock);
    let held = opened.map_err(write(&lock))?;
    held.lock().map_err(write(&lock))?;
    match present(dir) {
        0 => {}
        _ if !making.exists() => return Ok(()), // Made while we waited, or half filled by hand.
        complete if complete == FILES.len() => {
            // The last maker got this far, or somebody put his own in place of what it had left.
            return fs::remove_file(&making).map_err(write(&making));
        }
        _ => {}
    }
    File::create(&making).map_err(write(&making))?;
    let files = Files::make(now)?;
    put(dir, CA_KEY, &files.key, 0o600)?;
    put(dir, CA_CERT, &files.signer, 0o644)?;
    put(dir, ROOT_CERT, &files.roots, 0o644)?;
    fs::remove_file(&making).map_err(write(&making))?;
    info!(dir = %dir.display(), "made a new certificate authority");
    Ok(())
}

/// Writes a file so that nobody ever sees a part of it.
fn put(dir: &Path, name: &str, content: &str, mode: u32) -> Result<(), LocalCaError> {
    let path = dir.join(name);
    let temporary = dir.join(format!(".{name}.new"));
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(mode)
            .open(&temporary)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    };
    written().map_err(|source| LocalCaError::Write { path: path.clone(), source })
}

fn read(dir: &Path, name: &str) -> Result<String, LocalCaError> {
    let path = dir.join(name);
    let content = read_bounded(&path, MAX_PEM_BYTES).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    content.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => LocalCaError::Missing { path },
        _ => LocalCaError::Read { path, source },
    })
}

fn read_all(dir: &Path) -> Result<Files, LocalCaError> {
    let chain = match read(dir, CERT_CHAIN) {
        Err(LocalCaError::Missing { .. }) => None,
        other => Some(other?),
    };
    Ok(Files {
        roots: read(dir, ROOT_CERT)?,
        signer: read(dir, CA_CERT)?,
        key: read(dir, CA_KEY)?,
        chain,
    })
}
