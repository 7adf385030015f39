//! The `:authority` of a CONNECT: where the tunnel shall end.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

/// A CONNECT's target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Authority {
    /// `IP:port`, IPv6 in brackets.
    Address(SocketAddr),
    /// `hostname:port`.
    Hostname {
        /// The name of a service.
        host: Arc<str>,
        /// A port of that service.
        port: u16,
    },
}

/// A text that is neither form.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("authority {0:?} is neither IP:port nor hostname:port")]
pub struct ParseAuthorityError(pub String);

impl FromStr for Authority {
    type Err = ParseAuthorityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if is_hostname(host) => match port.parse::<u16>() {
                // A number has signs and zeros in front in many texts; an authority is one.
                Ok(number) if number.to_string() == port => {
                    Ok(Self::Hostname { host: host.into(), port: number })
                }
                _ => Err(ParseAuthorityError(text.to_owned())),
            },
            _ => Err(ParseAuthorityError(text.to_owned())),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Hostname { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl From<SocketAddr> for Authority {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

/// Whether `host` can be a DNS name (RFC 1035 lengths; the letters that Kubernetes and Istio allow, wildcards included).
pub(crate) fn is_hostname(host: &str) -> bool {
    let letter = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b'*');
    (1..=253).contains(&host.len()) && host.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_survive_a_round_trip() {
        for text in ["10.0.0.1:80", "[2001:db8::1]:8080", "cart.shop.svc.cluster.local:80"] {
            assert_eq!(text.parse::<Authority>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            ":80",
            "host",
            "host:",
            "host:port",
            "host:70000",
            "host:+80",
            "host:080",
            "a b:80",
            "::1:80",
            "[::1]",
            "user@host:80",
        ] {
            assert!(text.parse::<Authority>().is_err(), "{text}");
        }
    }
}
