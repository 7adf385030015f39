//! The choice between the two programs that can hold the rules.

use crate::drift::Listing;
use crate::error::Error;
use crate::rules::{Family, RuleSet};
use crate::run::Netns;
use crate::{iptables, nft};

/// The program that holds the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backend {
    /// `nft`: three tables of the `inet` family, replaced in one transaction.
    #[default]
    Nftables,
    /// `iptables-restore` and `ip6tables-restore`: replaced in one transaction for each family.
    Iptables,
}

// === impl Backend ===

impl Backend {
    /// The rules as the back end's program reads them, where none are yet: a script for `nft -f -`, or the input of
    /// `iptables-restore --noflush` followed by that of `ip6tables-restore --noflush`.
    pub fn render(self, rules: &RuleSet) -> String {
        match self {
            Self::Nftables => nft::render(rules),
            Self::Iptables => {
                let family =
                    |family| iptables::render(rules, family, &iptables::Present::default());
                Family::ALL.map(family).concat()
            }
        }
    }

    /// Replaces what is ours in the namespace by `rules`.
    pub(crate) fn apply(self, netns: &Netns, rules: &RuleSet) -> Result<(), Error> {
        match self {
            Self::Nftables => nft::apply(netns, rules),
            Self::Iptables => iptables::apply(netns, rules),
        }
    }

    /// Lists what is ours in the namespace.
    pub(crate) fn list(self, netns: &Netns) -> Result<Listing, Error> {
        match self {
            Self::Nftables => nft::list(netns),
            Self::Iptables => iptables::list(netns),
        }
    }
}
