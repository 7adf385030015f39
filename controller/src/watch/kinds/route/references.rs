//! What a route refers to.

use ambit_model::Str;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Edit, RouteBackend};
use crate::watch::kinds::{Meta, Problem, ports};
use crate::watch::{Key, Kind};

/// A parent of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct ParentRef {
    /// Its group.
    pub group: Str,
    /// What kind of object it is.
    pub kind: Str,
    /// Its namespace.
    pub namespace: Str,
    /// Its name.
    pub name: Str,
    /// The listener or the port by name; all of them where empty.
    pub section: Str,
    /// The port by number.
    pub port: Option<u16>,
    /// As it is written, for the status.
    pub written: Value,
}

/// An object that traffic is sent to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendRef {
    /// Its group.
    pub group: Str,
    /// What kind of object it is.
    pub kind: Str,
    /// Its namespace.
    pub namespace: Str,
    /// Its name.
    pub name: Str,
    /// Its port.
    pub port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawParent {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    section_name: Option<String>,
    port: Option<i64>,
}

/// A reference to a backend, and in rules its share; `F` are its filters.
#[derive(Deserialize)]
pub(super) struct RawBackend<F> {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    port: Option<i64>,
    weight: Option<i64>,
    filters: Option<Vec<F>>,
}

/// Not an object but a name that any service may have.
const HOSTNAME: &str = "Hostname";
/// The schema's limit.
const MAX_WEIGHT: i64 = 1_000_000;

// === impl ParentRef ===

impl ParentRef {
    /// The object, where it is of a kind that routes attach to.
    pub fn key(&self) -> Option<Key> {
        let kind = Kind::named(&self.group, &self.kind)?;
        let known =
            matches!(kind, Kind::Gateway | Kind::ListenerSet | Kind::Service | Kind::ServiceEntry);
        known.then(|| Key::new(kind, self.namespace.clone(), self.name.clone()))
    }
}

// === impl BackendRef ===

impl BackendRef {
    /// The object, whichever port of it and whoever names it.
    pub fn referent(&self) -> Self {
        if self.is_host() {
            return Self::host(&self.name);
        }
        Self { port: None, ..self.clone() }
    }

    /// The reference to a service by its host name.
    pub fn host(name: &Str) -> Self {
        Self {
            group: Kind::ServiceEntry.group().into(),
            kind: HOSTNAME.into(),
            namespace: Str::default(),
            name: name.clone(),
            port: None,
        }
    }

    /// Whether it is a host name, which belongs to no namespace.
    pub fn is_host(&self) -> bool {
        *self.group == *Kind::ServiceEntry.group() && &*self.kind == HOSTNAME
    }

    /// The reference to an object.
    pub fn of(key: &Key) -> Self {
        Self {
            group: key.kind.group().into(),
            kind: key.kind.as_str().into(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            port: None,
        }
    }

    /// The object, where it is of a kind that is read.
    pub fn key(&self) -> Option<Key> {
        let kind = Kind::named(&self.group, &self.kind)?;
        Some(Key::new(kind, self.namespace.clone(), self.name.clone()))
    }
}

pub(super) fn parents(meta: &Meta, list: Vec<Value>) -> Result<Vec<ParentRef>, Problem> {
    super::bounded("spec.parentRefs", list.len(), super::MAX_LIST)?;
    super::each("spec.parentRefs", list, |written| parent(meta, written))
}

fn parent(meta: &Meta, written: Value) -> Result<ParentRef, Problem> {
    let raw: RawParent = crate::watch::kinds::typed(&written)?;
    let group = raw.group.as_deref().unwrap_or(Kind::Gateway.group());
    let kind = raw.kind.as_deref().unwrap_or(Kind::Gateway.as_str());
    let mut written = written;
    // The API server fills these in; a status has to repeat them.
    let fields = written.as_object_mut().map(|fields| std::mem::replace(fields, Map::new()));
    let mut fields = fields.unwrap_or_default();
    fields.entry("group").or_insert_with(|| group.into());
    fields.entry("kind").or_insert_with(|| kind.into());
    Ok(ParentRef {
        group: group.into(),
        kind: kind.into(),
        namespace: raw.namespace.map_or_else(|| meta.namespace.clone(), Into::into),
        name: raw.name.into(),
        section: raw.section_name.unwrap_or_default().into(),
        port: raw.port.map(|port| ports::port("port", port)).transpose()?,
        written: Value::Object(fields),
    })
}

// === impl RawBackend ===

impl<F> RawBackend<F> {
    /// The reference alone, as mirrors have it.
    pub(super) fn target(self, namespace: &Str) -> Result<BackendRef, Problem> {
        Ok(BackendRef {
            group: self.group.unwrap_or_default().into(),
            kind: self.kind.as_deref().unwrap_or(Kind::Service.as_str()).into(),
            namespace: self.namespace.map_or_else(|| namespace.clone(), Into::into),
            name: self.name.into(),
            port: self.port.map(|port| ports::port("port", port)).transpose()?,
        })
    }

    /// The reference, its share and its filters, which `read` understands.
    pub(super) fn backend(
        mut self,
        namespace: &Str,
        read: impl Fn(F) -> Result<Edit, Problem>,
    ) -> Result<RouteBackend, Problem> {
        let weight = self.weight.unwrap_or(1);
        let weight =
            u32::try_from(weight).ok().filter(|_| weight <= MAX_WEIGHT).ok_or_else(|| {
                Problem::new("weight", format!("{weight} is not between 0 and {MAX_WEIGHT}"))
            })?;
        let filters = super::each("filters", self.filters.take().unwrap_or_default(), read)?;
        Ok(RouteBackend { weight, target: self.target(namespace)?, filters })
    }
}
