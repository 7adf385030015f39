//! What `/etc/resolv.conf` says, as far as a forwarder needs it.

use std::net::IpAddr;

/// glibc asks no more than three servers, and neither do we.
const MAX_SERVERS: usize = 3;

/// A resolver configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Name servers, most preferred first, three at most.
    pub nameservers: Vec<IpAddr>,
    /// The search list; the last one given counts.
    pub searches: Vec<String>,
}

/// Reads the text of a resolv.conf. What is not understood is skipped, as every resolver does.
pub fn parse(text: &str) -> ResolvConf {
    let mut parsed = ResolvConf::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                let address: Option<IpAddr> = words.next().and_then(|word| word.parse().ok());
                if parsed.nameservers.len() < MAX_SERVERS {
                    parsed.nameservers.extend(address);
                }
            }
            Some("search" | "domain") => {
                parsed.searches = words.map(|word| word.trim_end_matches('.').to_owned()).collect();
            }
            _ => {}
        }
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_search_list() {
        let text = "# comment\nnameserver 10.96.0.10 ; cluster\n nameserver 2001:db8::53\nnameserver fe80::1%eth0\nnameserver\nsearch old.example\nsearch a.svc.cluster.local svc.cluster.local cluster.local.\noptions ndots:5\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n";
        let expected = ResolvConf {
            nameservers: ["10.96.0.10", "2001:db8::53", "192.0.2.1"]
                .map(|ip| ip.parse().unwrap())
                .to_vec(),
            searches: ["a.svc.cluster.local", "svc.cluster.local", "cluster.local"]
                .map(str::to_owned)
                .to_vec(),
        };
        assert_eq!(parse(text), expected);
        assert_eq!(parse(""), ResolvConf::default());
    }
}
