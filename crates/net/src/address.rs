//! Where a redirected connection was going, and one spelling for each address.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::SockRef;
use tokio::net::TcpStream;

/// `address` with an IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) as plain IPv4 and without IPv6 flow label,
/// so that an address compares equal whichever socket it came from. Scope ids are kept.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => {
                let mut v6 = v6;
                v6.set_flowinfo(0);
                SocketAddr::V6(v6)
            }
        },
        SocketAddr::V4(_) => address,
    }
}

/// `ip` with an IPv4-mapped IPv6 address as plain IPv4.
pub fn canonical_ip(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Where the peer meant to connect to before a REDIRECT rule of the socket's namespace brought it here
/// (`SO_ORIGINAL_DST`, `IP6T_SO_ORIGINAL_DST`), canonical.
///
/// For a connection that no rule rewrote, this is its local address. `peer` is who it came from, and tells the family.
///
/// # Errors
///
/// `ENOENT` where connection tracking does not know the connection and `ENOPROTOOPT` where it is not loaded:
/// the connection was not redirected, and its local address is all that is known.
pub fn original_dst(stream: &TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let original = match canonical(peer) {
        SocketAddr::V4(_) => socket.original_dst_v4()?,
        SocketAddr::V6(_) => socket.original_dst_v6()?,
    };
    original.as_socket().map(canonical).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "original destination is not an IP address")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fresh_netns, run_in};

    #[test]
    fn mapped_addresses_become_ipv4() {
        for (given, expected) in [
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("[::1]:1", "[::1]:1"),
            // IPv4-compatible, deprecated and not the same as mapped.
            ("[::10.0.0.1]:80", "[::10.0.0.1]:80"),
        ] {
            let (given, expected): (SocketAddr, SocketAddr) =
                (given.parse().unwrap(), expected.parse().unwrap());
            assert_eq!(canonical(given), expected);
            assert_eq!(canonical_ip(given.ip()), expected.ip());
        }
    }

    #[tokio::test]
    async fn a_redirect_rule_does_not_hide_the_destination() {
        let Some(netns) = fresh_netns() else { return };
        let listener = netns
            .enter(|| crate::listen("[::]:0".parse().unwrap(), &crate::ListenOptions::default()))
            .unwrap()
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = listener.into_tokio().unwrap();
        run_in(&netns, "nft add table inet t");
        run_in(&netns, "nft add chain inet t o { type nat hook output priority -100 ; }");
        run_in(&netns, &format!("nft add rule inet t o tcp dport 9999 redirect to :{port}"));
        for (dialled, original) in [
            ("127.0.0.1:9999".to_owned(), "127.0.0.1:9999".to_owned()),
            ("[::1]:9999".to_owned(), "[::1]:9999".to_owned()),
            // Not redirected: the destination is where it arrived.
            (format!("127.0.0.1:{port}"), format!("127.0.0.1:{port}")),
        ] {
            let options = crate::ConnectOptions { netns: Some(&netns), ..Default::default() };
            let (client, accepted) =
                tokio::join!(crate::connect(dialled.parse().unwrap(), &options), listener.accept());
            client.unwrap();
            let (accepted, peer) = accepted.unwrap();
            assert_eq!(original_dst(&accepted, peer).unwrap(), original.parse().unwrap());
        }
    }

    #[test]
    fn flow_labels_do_not_tell_addresses_apart() {
        let plain: SocketAddr = "[2001:db8::1]:443".parse().unwrap();
        let mut labelled = plain;
        if let SocketAddr::V6(v6) = &mut labelled {
            v6.set_flowinfo(7);
        }
        assert_ne!(labelled, plain);
        assert_eq!(canonical(labelled), plain);
    }
}
