//! A gateway's port: its listeners, and which rules a request or a connection falls to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ambit_model::Str;
use ambit_proto::ambit as proto;
use ambit_tls::{ClientAuthorities, FrontCertificate, front_config};
use imbl::HashMap;
use proto::ListenerProtocol;
use tokio_rustls::rustls::ServerConfig;

use super::table::covers;
use super::{Invalid, Table};

/// A listener of a Gateway.
pub(crate) struct Listener {
    pub name: Str,
    pub port: u16,
    pub protocol: ListenerProtocol,
    hostname: Box<str>,
    /// Where TLS ends here.
    pub tls: Option<Arc<ServerConfig>>,
}

/// All listeners of one port, the most particular host names first.
#[derive(Debug)]
pub(crate) struct Front {
    listeners: Vec<Hosts>,
}

/// A listener with the rules of each of its hosts, the most particular first.
#[derive(Debug)]
struct Hosts {
    listener: Arc<Listener>,
    tables: Vec<(Str, Arc<Table>)>,
}

/// Rules by listener and host.
pub(crate) type HostTables = HashMap<(Str, Str), Arc<Table>>;

// === impl Listener ===

impl Listener {
    pub(super) fn compile(message: &proto::Listener) -> Result<Self, Invalid> {
        if let Some(unknown) = message.required_features.first() {
            return Err(Invalid::Feature(unknown.clone()));
        }
        let port = u16::try_from(message.port).ok().filter(|port| *port > 0);
        let protocol = message.protocol();
        let ends_tls =
            matches!(protocol, ListenerProtocol::Https | ListenerProtocol::TlsTerminated);
        let settings = message.tls.as_ref();
        let certificates: Vec<FrontCertificate<'_>> = settings
            .into_iter()
            .flat_map(|tls| &tls.certificates)
            .map(|certificate| FrontCertificate {
                chain: &certificate.chain,
                key: &certificate.key,
            })
            .collect();
        let clients = settings.map(|tls| ClientAuthorities {
            pem: &tls.client_authorities,
            optional: tls.client_certificate_optional,
        });
        let tls = ends_tls.then(|| front_config(&certificates, clients.unwrap_or_default()));
        Ok(Self {
            name: message.name.as_str().into(),
            port: port.ok_or(Invalid::Port(message.port))?,
            protocol,
            hostname: message.hostname.as_str().into(),
            tls: tls.transpose()?,
        })
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{:?})", self.name, self.port, self.hostname)
    }
}

/// The listeners by port, with their rules.
pub(super) fn fronts(
    listeners: &HashMap<Str, Arc<Listener>>,
    tables: &HostTables,
) -> BTreeMap<u16, Arc<Front>> {
    let mut ports: BTreeMap<u16, Front> = BTreeMap::new();
    for listener in listeners.values() {
        let own = tables.iter().filter(|((of, _), _)| *of == listener.name);
        let mut own: Vec<(Str, Arc<Table>)> =
            own.map(|((_, host), table)| (host.clone(), table.clone())).collect();
        own.sort_by_key(|(host, _)| particular(host));
        let front = ports.entry(listener.port).or_insert_with(|| Front { listeners: Vec::new() });
        front.listeners.push(Hosts { listener: listener.clone(), tables: own });
    }
    for front in ports.values_mut() {
        front.listeners.sort_by_key(|hosts| {
            (particular(&hosts.listener.hostname), hosts.listener.name.clone())
        });
    }
    ports.into_iter().map(|(port, front)| (port, Arc::new(front))).collect()
}

/// Sorts whole names before wildcards, and longer wildcards before shorter ones; what is for every host comes last.
fn particular(host: &str) -> (u8, std::cmp::Reverse<usize>) {
    let class = match host {
        "" => 2,
        wildcard if wildcard.starts_with('*') => 1,
        _ => 0,
    };
    (class, std::cmp::Reverse(host.len()))
}

fn is_for(pattern: &str, host: &str) -> bool {
    pattern.is_empty() || covers(pattern, host)
}

// === impl Front ===

impl Front {
    /// Whether connections begin with TLS. Whether it ends here depends on the name that is asked for.
    pub(crate) fn is_tls(&self) -> bool {
        self.listeners.iter().any(|hosts| {
            hosts.listener.tls.is_some()
                || hosts.listener.protocol == ListenerProtocol::TlsPassthrough
        })
    }

    /// The listener for a client that asks for `name`, which may be empty.
    pub(crate) fn listener(&self, name: &str) -> Option<&Listener> {
        let hosts = self.listeners.iter().find(|hosts| is_for(&hosts.listener.hostname, name));
        hosts.map(|hosts| &*hosts.listener)
    }

    /// Whose protocol is spoken on a connection: if TLS for some name has ended here, what is spoken inside.
    pub(crate) fn spoken(&self, ended: Option<&str>) -> Option<ListenerProtocol> {
        match ended {
            Some(name) => self.listener(name).map(|listener| listener.protocol),
            None if self.is_tls() => Some(ListenerProtocol::TlsPassthrough),
            None => self.listeners.first().map(|hosts| hosts.listener.protocol),
        }
    }

    /// The rules for a host: of the listener that is most particularly for it, those of its most particular name.
    pub(crate) fn table(&self, host: &str) -> Option<&Arc<Table>> {
        let hosts = self.listeners.iter().find(|hosts| is_for(&hosts.listener.hostname, host))?;
        hosts.tables.iter().find(|(pattern, _)| is_for(pattern, host)).map(|(_, table)| table)
    }

    /// Whether a request for `host` may come on a connection that was opened for `name`: not where another listener is
    /// for the host, whose certificates and authorities are others (Gateway API, misdirected requests).
    pub(crate) fn is_misdirected(&self, name: Option<&str>, host: &str) -> bool {
        let listener = |name: &str| {
            self.listeners.iter().position(|hosts| is_for(&hosts.listener.hostname, name))
        };
        listener(name.unwrap_or_default()) != listener(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str, hostname: &str) -> Arc<Listener> {
        let message = proto::Listener {
            name: name.into(),
            port: 80,
            hostname: hostname.into(),
            ..proto::Listener::default()
        };
        Arc::new(Listener::compile(&message).unwrap())
    }

    #[test]
    fn the_most_particular_name_decides() {
        let listeners: HashMap<Str, Arc<Listener>> = [
            listener("any", ""),
            listener("wide", "*.example.com"),
            listener("narrow", "*.a.example.com"),
            listener("one", "b.example.com"),
        ]
        .into_iter()
        .map(|listener| (listener.name.clone(), listener))
        .collect();
        let names = [
            ("any", ""),
            ("any", "x.org"),
            ("wide", "*.example.com"),
            ("wide", "c.example.com"),
            ("narrow", "*.a.example.com"),
            ("one", "b.example.com"),
        ];
        let tables: HostTables = names
            .into_iter()
            .map(|(of, host)| ((of.into(), host.into()), Arc::<Table>::default()))
            .collect();
        let fronts = fronts(&listeners, &tables);
        let front = &fronts[&80];
        for (host, expected) in [
            ("b.example.com", Some(("one", "b.example.com"))),
            ("c.example.com", Some(("wide", "c.example.com"))),
            ("C.EXAMPLE.com", Some(("wide", "c.example.com"))),
            ("d.example.com", Some(("wide", "*.example.com"))),
            ("x.a.example.com", Some(("narrow", "*.a.example.com"))),
            ("example.com", Some(("any", ""))),
            ("x.org", Some(("any", "x.org"))),
            ("", Some(("any", ""))),
        ] {
            let found = front.table(host).map(Arc::as_ptr);
            let key = expected.map(|(of, host)| (Str::from(of), Str::from(host)));
            let wanted = key.and_then(|key| tables.get(&key)).map(Arc::as_ptr);
            assert_eq!(found, wanted, "{host}");
        }
        assert!(front.is_misdirected(Some("b.example.com"), "c.example.com"));
        assert!(!front.is_misdirected(Some("d.example.com"), "c.example.com"));
    }

    #[test]
    fn the_name_decides_whether_tls_ends_here() {
        let front = |listeners: &[(&str, ListenerProtocol)]| {
            let hosts = |(hostname, protocol): &(&str, ListenerProtocol)| {
                let listener = Listener {
                    name: (*hostname).into(),
                    port: 443,
                    protocol: *protocol,
                    hostname: (*hostname).into(),
                    tls: None,
                };
                Hosts { listener: Arc::new(listener), tables: Vec::new() }
            };
            Front { listeners: listeners.iter().map(hosts).collect() }
        };
        let (https, passed) = (ListenerProtocol::Https, ListenerProtocol::TlsPassthrough);
        let mixed = front(&[("a.example", https), ("b.example", passed)]);
        assert!(mixed.is_tls());
        assert_eq!(mixed.spoken(Some("a.example")), Some(https));
        assert_eq!(mixed.spoken(None), Some(passed));
        assert_eq!(mixed.spoken(Some("c.example")), None);
        let plain = front(&[("a.example", ListenerProtocol::PlainHttp)]);
        assert!(!plain.is_tls());
        assert_eq!(plain.spoken(None), Some(ListenerProtocol::PlainHttp));
    }
}
