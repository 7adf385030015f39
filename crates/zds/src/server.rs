//! The agent's end of the connections.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_net::PacketSocket;
use tokio::time::{Instant, sleep_until, timeout};

use crate::message::{decode_answer, decode_hello};
use crate::{Dropped, Error, Request, socket};

/// How long a ztunnel may take for hello and for each answer (protocol.md 5.1).
const DEADLINE: Duration = Duration::from_secs(5);
/// The time between two accepted connections: five a second, so that a ztunnel in a crash loop costs little.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(200);

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// Where ztunnels connect to.
#[derive(Debug)]
pub struct Server {
    socket: PacketSocket,
    next_accept: Instant,
}

/// A connected ztunnel. Its requests are sent one at a time, each answered before the next.
#[derive(Debug)]
pub struct Connection {
    socket: PacketSocket,
    /// Whether an answer is due that nobody waits for any more.
    abandoned: bool,
}

// === impl Server ===

impl Server {
    /// Listens at `path`, for this user alone, in place of a socket that an earlier process has left there. The
    /// directory has to exist. Nothing removes the socket afterwards: a ztunnel that finds nobody behind it retries.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if the directory cannot be written to, the path is too long, or something else than a socket
    /// is in its place.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let socket =
            replace_socket(path).map_err(|source| Error::Path { path: path.to_owned(), source })?;
        Ok(Self { socket, next_accept: Instant::now() })
    }

    /// The next ztunnel, at most five a second. It has not said hello yet. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if none can be accepted for now, for want of descriptors for instance; trying again is fine.
    pub async fn accept(&mut self) -> Result<Connection, Error> {
        sleep_until(self.next_accept).await;
        let accepted = self.socket.accept().await;
        self.next_accept = Instant::now() + ACCEPT_INTERVAL;
        Ok(Connection { socket: accepted?, abandoned: false })
    }
}

/// Listens on a new socket with its final permissions before it takes the name, so that nobody finds it open to all
/// or not yet listening.
fn replace_socket(path: &Path) -> io::Result<PacketSocket> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists and is no socket"));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = PacketSocket::listen(&new, BACKLOG)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, path)?;
    Ok(socket)
}

// === impl Connection ===

impl Connection {
    /// Waits up to 5 s for the ztunnel's hello: the version that it speaks, which nothing depends on so far.
    ///
    /// # Errors
    ///
    /// [`Error::Deadline`], or anything that is no hello.
    pub async fn hello(&mut self) -> Result<i32, Error> {
        let packet = timeout(DEADLINE, socket::recv(&self.socket))
            .await
            .map_err(|_| Error::Deadline(DEADLINE))??;
        if !packet.descriptors.is_empty() {
            return Err(Error::Violation("a hello with a descriptor"));
        }
        decode_hello(&packet.data)
    }

    /// Sends `request` and waits up to 5 s for the answer. Says what had to be left out to fit into a packet.
    ///
    /// A call that is dropped halfway leaves the connection out of step: the next one fails.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the ztunnel could not do it and [`Error::TooLarge`] if it cannot be said: the next
    /// request may be sent. After any other the connection should be dropped.
    pub async fn request<N: AsFd>(&mut self, request: &Request<N>) -> Result<Dropped, Error> {
        if self.abandoned {
            return Err(Error::OutOfStep);
        }
        let (packet, dropped) = request.encode()?;
        self.abandoned = true;
        let exchange = async {
            socket::send(&self.socket, &packet, request.descriptor()).await?;
            socket::recv(&self.socket).await
        };
        let answer = timeout(DEADLINE, exchange).await.map_err(|_| Error::Deadline(DEADLINE))??;
        if !answer.descriptors.is_empty() {
            return Err(Error::Violation("an answer with a descriptor"));
        }
        let rejected = decode_answer(&answer.data)?;
        self.abandoned = false;
        match rejected {
            None => Ok(dropped),
            Some(text) => Err(Error::Rejected(text)),
        }
    }

    /// Waits until an idle connection is of no more use, and says why. A ztunnel has nothing to say between requests,
    /// so anything that comes ends the connection. Notices at once what Istio's agent looks for every 5 s. Cancel safe.
    pub async fn closed(&self) -> Error {
        match socket::recv(&self.socket).await {
            Ok(_) => Error::Violation("an answer to no request"),
            Err(error) => error,
        }
    }
}
