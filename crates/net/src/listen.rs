//! Sockets that wait for a captured pod's traffic.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::tcp::{TcpOptions, tune};

/// How a listening socket is made. The default has no mark, tries to be transparent, shares its port, and queues 128
/// connections (protocol.md 1.1).
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// `SO_MARK`, which accepted connections inherit; needs CAP_NET_ADMIN.
    pub mark: Option<u32>,
    /// `IP_TRANSPARENT`, without which no client's address can be borrowed on the way on.
    pub transparent: Transparent,
    /// `SO_REUSEPORT`: other sockets of this user may listen on the port too, and share its connections.
    pub reuse_port: bool,
    /// Connections that may wait to be accepted.
    pub backlog: i32,
    /// Options that accepted connections inherit.
    pub tcp: TcpOptions,
}

/// Whether a socket should be transparent, which takes CAP_NET_ADMIN or CAP_NET_RAW.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transparent {
    /// It is not.
    Never,
    /// It is if the process may.
    #[default]
    BestEffort,
    /// It is, or there is no socket.
    Required,
}

/// A listening TCP socket, nonblocking.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: std::net::TcpListener,
    /// Whether it is transparent, so that connections on behalf of its clients may borrow their addresses.
    pub transparent: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            mark: None,
            transparent: Transparent::BestEffort,
            reuse_port: true,
            backlog: 128,
            tcp: TcpOptions::default(),
        }
    }
}

impl Listener {
    /// The socket for the runtime of the calling task.
    ///
    /// # Errors
    ///
    /// If the runtime cannot watch the descriptor.
    pub fn into_tokio(self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.socket)
    }

    /// The address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// Whatever `getsockname` reports.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Listens for TCP on `address` in the calling thread's network namespace; `[::]` takes IPv4 as well, as long as
/// the namespace has IPv6.
///
/// # Errors
///
/// `EADDRINUSE` for a port that somebody else has; `EPERM` for a mark, or required transparency, without the right;
/// `EAFNOSUPPORT` or `EADDRNOTAVAIL` for an IPv6 address where IPv6 is off.
pub fn listen(address: SocketAddr, options: &ListenOptions) -> io::Result<Listener> {
    let socket = socket(address, Type::STREAM, options)?;
    // A restarted process must not wait for its predecessor's closed connections to time out.
    socket.set_reuse_address(true)?;
    let transparent = set_transparent(&socket, address.ip(), options.transparent)?;
    tune(&socket, &options.tcp)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(Listener { socket: socket.into(), transparent })
}

/// Binds a nonblocking UDP socket to `address` in the calling thread's network namespace. Of `options`, the mark and
/// the sharing of the port count.
///
/// # Errors
///
/// As for [`listen`].
pub fn bind_udp(address: SocketAddr, options: &ListenOptions) -> io::Result<std::net::UdpSocket> {
    let socket = socket(address, Type::DGRAM, options)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, kind: Type, options: &ListenOptions) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    if let Some(mark) = options.mark {
        socket.set_mark(mark)?;
    }
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    Ok(socket)
}

fn set_transparent(socket: &Socket, ip: IpAddr, wanted: Transparent) -> io::Result<bool> {
    if wanted == Transparent::Never {
        return Ok(false);
    }
    let result = match ip {
        IpAddr::V4(_) => socket.set_ip_transparent_v4(true),
        // One flag of the socket serves both families; the option only has to be of the socket's own.
        IpAddr::V6(_) => socket.set_ip_transparent_v6(true),
    };
    match result {
        Ok(()) => Ok(true),
        Err(error) if wanted == Transparent::Required => Err(error),
        Err(error) => {
            tracing::debug!(%error, "not transparent: applications will see this node proxy as the client");
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use socket2::SockRef;

    use super::*;
    use crate::testing::fresh_netns;

    const ANY_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
    const LOCAL_V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[tokio::test]
    async fn the_wildcard_takes_both_families() {
        let listener = listen(ANY_V6, &ListenOptions::default()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = listener.into_tokio().unwrap();
        for ip in ["127.0.0.1", "::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            let (client, accepted) = tokio::join!(
                tokio::net::TcpStream::connect(SocketAddr::new(ip, port)),
                listener.accept()
            );
            let (accepted, peer) = accepted.unwrap();
            assert_eq!(crate::canonical(peer), client.unwrap().local_addr().unwrap());
            assert_eq!(crate::canonical(accepted.local_addr().unwrap()).ip(), ip);
        }
    }

    #[tokio::test]
    async fn accepted_connections_inherit_the_options() {
        let user_timeout = Some(std::time::Duration::from_secs(7));
        let tcp = TcpOptions { user_timeout, ..TcpOptions::default().shared() };
        let options = ListenOptions { tcp, ..ListenOptions::default() };
        let listener = listen(LOCAL_V4, &options).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = listener.into_tokio().unwrap();
        let (_client, accepted) =
            tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        let accepted = accepted.unwrap().0;
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), 180);
        assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), 180);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 9);
        assert_eq!(socket.tcp_user_timeout().unwrap(), user_timeout);
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 128 << 10);
    }

    #[test]
    fn a_port_is_shared_only_if_asked() {
        let first = listen(LOCAL_V4, &ListenOptions::default()).unwrap();
        let address = first.local_addr().unwrap();
        listen(address, &ListenOptions::default()).unwrap();
        let alone = ListenOptions { reuse_port: false, ..ListenOptions::default() };
        let error = listen(address, &alone).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn datagram_sockets_share_a_port_too() {
        let first = bind_udp(LOCAL_V4, &ListenOptions::default()).unwrap();
        bind_udp(first.local_addr().unwrap(), &ListenOptions::default()).unwrap();
    }

    #[test]
    fn marks_and_transparency_inside_a_namespace() {
        let Some(netns) = fresh_netns() else { return };
        let options = ListenOptions {
            mark: Some(1337),
            transparent: Transparent::Required,
            ..ListenOptions::default()
        };
        for address in [ANY_V6, LOCAL_V4] {
            let listener = netns.enter(|| listen(address, &options)).unwrap().unwrap();
            assert!(listener.transparent);
            let socket = SockRef::from(&listener.socket);
            assert_eq!(socket.mark().unwrap(), 1337);
            let port = listener.local_addr().unwrap().port();
            let error = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::ConnectionRefused,
                "it must not listen out here"
            );
            let udp = netns.enter(|| bind_udp(address, &options)).unwrap().unwrap();
            assert_eq!(SockRef::from(&udp).mark().unwrap(), 1337);
        }
        let never = ListenOptions { transparent: Transparent::Never, ..options };
        assert!(!listen(LOCAL_V4, &never).unwrap().transparent);
    }
}
