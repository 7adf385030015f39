//! Dialling out: from a pod's namespace, from a borrowed address, with failures told apart.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use crate::netns::NetNs;
use crate::tcp::{TcpOptions, tune};

/// How a connection is made. The default is this thread's namespace, any source, no mark, 10 s (protocol.md 1.1).
#[derive(Clone, Copy, Debug)]
pub struct ConnectOptions<'a> {
    /// The namespace to dial from; `None` is the calling thread's own.
    pub netns: Option<&'a NetNs>,
    /// The source address, which need not be the machine's own (`IP_TRANSPARENT`: CAP_NET_ADMIN).
    /// The kernel picks a port. Must be of the destination's family.
    pub source: Option<IpAddr>,
    /// `SO_MARK`; needs CAP_NET_ADMIN.
    pub mark: Option<u32>,
    /// How long to wait for the peer. The calling task's runtime needs its timer enabled.
    pub timeout: Duration,
    /// Options of the connection.
    pub tcp: TcpOptions,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there, or who does refused.
    #[error("{0} refused the connection: check that the application listens on that port")]
    Refused(SocketAddr),
    /// No answer.
    #[error(
        "no answer from {destination} within {after:?}: check that it runs and that no NetworkPolicy or firewall drops the traffic"
    )]
    TimedOut {
        /// Who did not answer.
        destination: SocketAddr,
        /// How long it had.
        after: Duration,
    },
    /// No way there, or something on it says no.
    #[error("{destination} cannot be reached: {source}")]
    Unreachable {
        /// Who cannot be reached.
        destination: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nothing the destination did: descriptors, ports, rights or the namespace.
    #[error("cannot dial {destination} ({step}): {source}")]
    Local {
        /// Whom it would have gone to.
        destination: SocketAddr,
        /// The step that failed.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Default for ConnectOptions<'_> {
    fn default() -> Self {
        Self {
            netns: None,
            source: None,
            mark: None,
            timeout: Duration::from_secs(10),
            tcp: TcpOptions::default(),
        }
    }
}

// === impl ConnectError ===

impl ConnectError {
    /// A short name for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::TimedOut { .. } => "timed_out",
            Self::Unreachable { .. } => "unreachable",
            Self::Local { .. } => "local",
        }
    }

    /// Whether another endpoint of the same service may do better. Nothing was sent, so trying is safe.
    pub fn may_try_another(&self) -> bool {
        match self {
            Self::Refused(_) | Self::TimedOut { .. } | Self::Unreachable { .. } => true,
            Self::Local { .. } => false,
        }
    }

    fn from_connect(
        destination: SocketAddr,
        source: io::Error,
        options: &ConnectOptions<'_>,
    ) -> Self {
        use io::ErrorKind as Kind;
        match source.kind() {
            Kind::ConnectionRefused | Kind::ConnectionReset => Self::Refused(destination),
            Kind::TimedOut => Self::TimedOut { destination, after: options.timeout },
            // EACCES and EPERM come from local firewall rules and prohibiting routes for this destination.
            Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::PermissionDenied => Self::Unreachable { destination, source },
            _ => Self::Local { destination, step: "connect", source },
        }
    }
}

/// Connects to `destination`. The socket is made at the first poll, inside the namespace, on the polling thread;
/// waiting needs neither.
///
/// # Errors
///
/// See [`ConnectError`].
pub async fn connect(
    destination: SocketAddr,
    options: &ConnectOptions<'_>,
) -> Result<TcpStream, ConnectError> {
    let destination = crate::canonical(destination);
    let socket = open(destination, options).map_err(|(step, source)| ConnectError::Local {
        destination,
        step,
        source,
    })?;
    match tokio::time::timeout(options.timeout, establish(socket, destination)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(ConnectError::from_connect(destination, error, options)),
        Err(_) => Err(ConnectError::TimedOut { destination, after: options.timeout }),
    }
}

async fn establish(socket: Socket, destination: SocketAddr) -> io::Result<TcpStream> {
    let connected = match socket.connect(&destination.into()) {
        Ok(()) => true,
        // On the loopback device the handshake is over by now: nothing is to be waited for.
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => socket.peer_addr().is_ok(),
        Err(error) => return Err(error),
    };
    let stream = TcpStream::from_std(socket.into())?;
    if !connected {
        poll_fn(|cx| stream.poll_write_ready(cx)).await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
    }
    Ok(stream)
}

/// A nonblocking socket in the namespace, bound and tuned; or the step that failed.
fn open(
    destination: SocketAddr,
    options: &ConnectOptions<'_>,
) -> Result<Socket, (&'static str, io::Error)> {
    let create = || {
        Socket::new(
            Domain::for_address(destination),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )
    };
    let socket = match options.netns {
        Some(netns) => netns.enter(create).map_err(|e| ("enter namespace", e))?,
        None => create(),
    }
    .map_err(|e| ("create socket", e))?;
    if let Some(mark) = options.mark {
        socket.set_mark(mark).map_err(|e| ("set mark", e))?;
    }
    tune(&socket, &options.tcp).map_err(|e| ("set TCP options", e))?;
    if let Some(source) = options.source {
        bind_source(&socket, source).map_err(|e| ("bind source address", e))?;
    }
    Ok(socket)
}

fn bind_source(socket: &Socket, source: IpAddr) -> io::Result<()> {
    let source = crate::canonical_ip(source);
    match source {
        IpAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        IpAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
    }
    // The port is chosen at connect, when the four-tuple is known: one port can then serve many destinations.
    setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(source, 0).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fresh_netns, run_in};
    use crate::{ListenOptions, listen};

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let port = listen(address("127.0.0.1:0"), &ListenOptions::default())
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mapped = address(&format!("[::ffff:127.0.0.1]:{port}"));
        let error = connect(mapped, &ConnectOptions::default()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Refused(_)), "{error:?}");
        assert!(error.may_try_another());
    }

    #[tokio::test]
    async fn silence_times_out() {
        let Some(netns) = fresh_netns() else { return };
        run_in(&netns, "nft add table inet t");
        run_in(
            &netns,
            "nft add chain inet t i { type filter hook input priority 0 ; policy drop ; }",
        );
        let timeout = Duration::from_millis(50);
        let options = ConnectOptions { netns: Some(&netns), timeout, ..Default::default() };
        let error = connect(address("127.0.0.1:80"), &options).await.unwrap_err();
        assert!(
            matches!(error, ConnectError::TimedOut { after, .. } if after == timeout),
            "{error:?}"
        );
        assert!(error.may_try_another());
    }

    #[tokio::test]
    async fn no_route_is_unreachable() {
        let Some(netns) = fresh_netns() else { return };
        let options = ConnectOptions { netns: Some(&netns), ..Default::default() };
        for destination in ["192.0.2.1:80", "[2001:db8::1]:80"] {
            let error = connect(address(destination), &options).await.unwrap_err();
            assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
            assert!(error.may_try_another());
        }
    }

    #[tokio::test]
    async fn a_source_of_the_other_family_is_our_own_mistake() {
        if fresh_netns().is_none() {
            return;
        }
        let options =
            ConnectOptions { source: Some("2001:db8::1".parse().unwrap()), ..Default::default() };
        let error = connect(address("127.0.0.1:80"), &options).await.unwrap_err();
        assert_eq!(error.reason(), "local");
        assert!(!error.may_try_another());
    }

    /// As in a captured pod: the application answers the borrowed address, and a mark brings the answer back.
    #[tokio::test]
    async fn a_borrowed_source_is_what_the_application_sees() {
        let Some(netns) = fresh_netns() else { return };
        for command in [
            "ip rule add fwmark 1337 lookup 100",
            "ip route add local 0.0.0.0/0 dev lo table 100",
            "ip -6 rule add fwmark 1337 lookup 100",
            "ip -6 route add local ::/0 dev lo table 100",
        ] {
            run_in(&netns, command);
        }
        for (bound, source) in [("127.0.0.1:0", "198.51.100.7"), ("[::1]:0", "2001:db8::7")] {
            let options = ListenOptions { mark: Some(1337), ..ListenOptions::default() };
            let listener = netns.enter(|| listen(address(bound), &options)).unwrap().unwrap();
            let destination = listener.local_addr().unwrap();
            let listener = listener.into_tokio().unwrap();
            let source: IpAddr = source.parse().unwrap();
            let options = ConnectOptions {
                netns: Some(&netns),
                source: Some(source),
                mark: Some(1337),
                ..Default::default()
            };
            let (stream, accepted) =
                tokio::join!(connect(destination, &options), listener.accept());
            let stream = stream.unwrap();
            assert_eq!(stream.local_addr().unwrap().ip(), source);
            assert_eq!(accepted.unwrap().1, stream.local_addr().unwrap());
            // The port is only taken together with its destination, so the same source can dial again and again.
            assert!(connect(destination, &options).await.is_ok());
        }
    }
}
