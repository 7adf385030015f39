//! `ConfigMap`: authorities that certificates are checked against.

use std::cell::RefCell;
use std::fmt;

use ambit_model::Str;
use ambit_xds::Interner;
use serde_json::Value;

use super::Meta;

/// Authorities, not yet looked at.
#[derive(Clone, PartialEq)]
pub struct ConfigMap {
    /// Its metadata.
    pub meta: Meta,
    /// PEM.
    pub authorities: Str,
}

thread_local! {
    /// Every namespace has a copy of the API server's.
    static AUTHORITIES: RefCell<Interner> = RefCell::default();
}

/// Reads a ConfigMap; `None` for one without authorities. Of those that are not about them nothing else is kept.
pub(super) fn trim(meta: Meta, value: &Value) -> Option<ConfigMap> {
    let text = value.get("data")?.get("ca.crt")?.as_str()?;
    let authorities = AUTHORITIES.with_borrow_mut(|known| known.intern(text));
    let meta = Meta { namespace: meta.namespace, name: meta.name, ..Meta::default() };
    Some(ConfigMap { meta, authorities })
}

impl fmt::Debug for ConfigMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigMap({}/{})", self.meta.namespace, self.meta.name)
    }
}
