//! The rules as data: what [`Capture`](crate::Capture) means, independent of the program that holds them.

mod build;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::capture::InterfaceName;

pub use build::rules;

/// Every rule of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// Whether IPv6 is captured too.
    pub ipv6: bool,
    /// The rules, grouped by table and chain, in the order in which they are tried.
    pub chains: Vec<(Table, Chain, Vec<Rule>)>,
}

/// A stage of packet processing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Before connection tracking.
    Raw,
    /// Marks.
    Mangle,
    /// Redirection.
    Nat,
}

/// Which packets a chain sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Chain {
    /// Those that arrive.
    Prerouting,
    /// Those that the pod, or ztunnel in it, sends.
    Output,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// One rule: if all its conditions hold, its verdict does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The family it is limited to.
    pub family: Option<Family>,
    /// The conditions.
    pub matches: Vec<Match>,
    /// What then happens.
    pub verdict: Verdict,
}

/// A condition on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It came in by this interface.
    InInterface(InterfaceName),
    /// It goes out by this interface.
    OutInterface(InterfaceName),
    /// It goes out by any interface but this one.
    NotOutInterface(InterfaceName),
    /// It comes from this address.
    Source(IpAddr),
    /// It goes to this address.
    Destination(IpAddr),
    /// It goes to any address but this one.
    NotDestination(IpAddr),
    /// It is TCP.
    Tcp,
    /// It is TCP to this port.
    TcpTo(u16),
    /// It is TCP to any port but this one.
    TcpNotTo(u16),
    /// It is UDP to this port.
    UdpTo(u16),
    /// It is UDP from this port.
    UdpFrom(u16),
    /// ztunnel sent it.
    Marked,
    /// ztunnel sent it, as a client that is connected to the pod itself.
    MarkedAsClient,
    /// Anyone but ztunnel sent it.
    NotMarked,
    /// Its mark says that it belongs to a connection that ztunnel opened.
    MarkedAsReply,
    /// It belongs to a connection that ztunnel opened.
    ConnectionMarked,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on untouched.
    Accept,
    /// The chain ends.
    Return,
    /// It goes to this port of the pod instead.
    Redirect(u16),
    /// Its connection is remembered as opened by ztunnel.
    MarkConnection,
    /// It gets its connection's mark, which the routing rule looks at.
    RestoreMark,
    /// It is tracked apart from the pod's own packets (conntrack zone 1).
    Zone,
    /// The same for this direction only. Replies are found without knowing of it.
    OriginalZone,
}

// === impl RuleSet ===

impl RuleSet {
    /// The chains of one table, with their rules.
    pub(crate) fn table(&self, table: Table) -> impl Iterator<Item = (Chain, &[Rule])> {
        self.chains
            .iter()
            .filter(move |(of, ..)| *of == table)
            .map(|(_, chain, rules)| (*chain, rules.as_slice()))
    }

    /// The same without the rules of the [`Table::Nat`], whose chains stay.
    pub(crate) fn without_redirections(mut self) -> Self {
        for (_, _, rules) in self.chains.iter_mut().filter(|(table, ..)| *table == Table::Nat) {
            rules.clear();
        }
        self
    }
}

// === impl Table ===

impl Table {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Mangle, Self::Nat, Self::Raw];

    /// The name that both programs use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
            Self::Nat => "nat",
        }
    }
}

// === impl Chain ===

impl Chain {
    /// Both of them.
    pub(crate) const ALL: [Self; 2] = [Self::Prerouting, Self::Output];
}

// === impl Family ===

impl Family {
    /// Both of them.
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family's loopback address.
    fn localhost(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }
}
