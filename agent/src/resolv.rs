//! Reads `resolv.conf` the way a C library does.

use std::net::IpAddr;

use ambit_zds::DnsConfig;

/// Name servers that a C library uses (`MAXNS`).
const MAX_NAMESERVERS: usize = 3;
/// Search domains that are passed on.
const MAX_SEARCHES: usize = 32;

/// The name servers and search domains of `text`. What is not understood is passed over; of several `search` or
/// `domain` lines the last one counts; name servers that are no plain addresses are left out.
pub(crate) fn parse(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") if config.nameservers.len() < MAX_NAMESERVERS => {
                config.nameservers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()))
            }
            Some("search") => {
                config.searches = words.take(MAX_SEARCHES).map(domain).collect();
            }
            Some("domain") => config.searches = words.take(1).map(domain).collect(),
            _ => {}
        }
    }
    config.searches.retain(|domain| !domain.is_empty());
    config
}

/// A domain without the dot at its end.
fn domain(word: &str) -> String {
    word.strip_suffix('.').unwrap_or(word).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_as_they_are_found() {
        for (text, nameservers, searches) in [
            ("", &[][..], &[][..]),
            (
                "search shop.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
                &["10.96.0.10"],
                &["shop.svc.cluster.local", "svc.cluster.local"],
            ),
            (
                "nameserver 1.1.1.1\nnameserver ::1\nnameserver 2.2.2.2\nnameserver 3.3.3.3",
                &["1.1.1.1", "::1", "2.2.2.2"],
                &[],
            ),
            (
                "# nameserver 1.1.1.1\n; search a\nnameserver fe80::1%eth0\nnameserver\nnameserver x",
                &[],
                &[],
            ),
            ("domain A.Example.\nsearch b c", &[], &["b", "c"]),
            ("search b c\ndomain a", &[], &["a"]),
            ("search .", &[], &[]),
            ("\tnameserver\t9.9.9.9 # quad", &["9.9.9.9"], &[]),
        ] {
            let config = parse(text);
            let found: Vec<_> = config.nameservers.iter().map(ToString::to_string).collect();
            assert_eq!(found, nameservers, "{text:?}");
            assert_eq!(config.searches, searches, "{text:?}");
        }
    }
}
