//! What the fields of a `RequestPolicy` have to be.

use ambit_model::{PathMatch, ServiceAccountMatch, StringMatch, Terms};
use ambit_proto::ambit as proto;
use ambit_proto::ambit::path_pattern::Kind as PathKind;
use ambit_proto::ambit::string_match::Kind as TextKind;
use ipnet::IpNet;

use super::address;
use super::request_policy::InvalidRequestPolicy as Invalid;
use crate::Interner;

pub(super) fn texts(
    field: &'static str,
    terms: &proto::TextTerms,
    interner: &mut Interner,
) -> Result<Terms<StringMatch>, Invalid> {
    read(&terms.values, &terms.not_values, |m| text(field, m, interner))
}

pub(super) fn paths(
    field: &'static str,
    terms: &proto::PathTerms,
    interner: &mut Interner,
) -> Result<Terms<PathMatch>, Invalid> {
    read(&terms.values, &terms.not_values, |pattern| match &pattern.kind {
        Some(PathKind::Text(m)) => Ok(PathMatch::Text(text(field, m, interner)?)),
        Some(PathKind::Template(template)) => Ok(PathMatch::Template(template.parse()?)),
        None => Err(Invalid::Unknown(field)),
    })
}

pub(super) fn nets(field: &'static str, terms: &proto::CidrTerms) -> Result<Terms<IpNet>, Invalid> {
    read(&terms.values, &terms.not_values, |net| {
        address::cidr(&net.address, net.length).map_err(|source| Invalid::Address { field, source })
    })
}

pub(super) fn ports(field: &'static str, terms: &proto::PortTerms) -> Result<Terms<u16>, Invalid> {
    read(&terms.values, &terms.not_values, |&port| {
        address::port(port).map_err(|source| Invalid::Address { field, source })
    })
}

pub(super) fn accounts(
    field: &'static str,
    terms: &proto::AccountTerms,
    interner: &mut Interner,
) -> Result<Terms<ServiceAccountMatch>, Invalid> {
    read(&terms.values, &terms.not_values, |account| {
        if account.namespace.is_empty() || account.name.is_empty() {
            return Err(Invalid::Unknown(field));
        }
        Ok(ServiceAccountMatch {
            namespace: interner.intern(&account.namespace),
            service_account: interner.intern(&account.name),
        })
    })
}

fn text(
    field: &'static str,
    m: &proto::StringMatch,
    interner: &mut Interner,
) -> Result<StringMatch, Invalid> {
    match &m.kind {
        _ if m.ignore_case => Err(Invalid::Unknown(field)),
        Some(TextKind::Exact(text)) => Ok(StringMatch::Exact(interner.intern(text))),
        Some(TextKind::Prefix(text)) => Ok(StringMatch::Prefix(interner.intern(text))),
        Some(TextKind::Suffix(text)) => Ok(StringMatch::Suffix(interner.intern(text))),
        Some(TextKind::Present(true)) => Ok(StringMatch::Presence()),
        Some(TextKind::Present(false) | TextKind::Regex(_)) | None => Err(Invalid::Unknown(field)),
    }
}

fn read<M, T>(
    values: &[M],
    not_values: &[M],
    mut one: impl FnMut(&M) -> Result<T, Invalid>,
) -> Result<Terms<T>, Invalid> {
    Ok(Terms {
        values: values.iter().map(&mut one).collect::<Result<_, _>>()?,
        not_values: not_values.iter().map(&mut one).collect::<Result<_, _>>()?,
    })
}
