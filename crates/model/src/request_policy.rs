//! Authorization policies of requests, at layer 7. `ambit-policy` gives them their meaning.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    NamespacedHostname, PathTemplate, PolicyName, ServiceAccountMatch, Str, StringMatch, is_default,
};

/// A policy of a waypoint or gateway, as `ambit.v1.RequestPolicy` describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestPolicy {
    /// The policy's name.
    pub name: Str,
    /// Its namespace.
    pub namespace: Str,
    /// What a match means.
    pub action: RequestAction,
    /// Matches are reported and have no effect.
    #[serde(default)]
    pub dry_run: bool,
    /// What it is about, of what is behind the proxy that is told of it.
    pub targets: Vec<PolicyTarget>,
    /// It matches where any of them does, so never without one.
    pub rules: Vec<RequestRule>,
}

/// What it means when a policy matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RequestAction {
    /// The request may pass; where such policies apply and none matches, it may not.
    Allow,
    /// It may not.
    Deny,
    /// It is reported.
    Audit,
    /// This provider is asked, and decides together with the other policies.
    Custom(Str),
}

/// What a policy is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyTarget {
    /// Everything behind the proxy.
    Gateway,
    /// Requests to this service.
    Service(NamespacedHostname),
}

/// Any of the sources, any of the operations and all conditions; a list that is empty says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestRule {
    /// Who sends the request.
    pub from: Vec<RequestSource>,
    /// What it asks for.
    pub to: Vec<RequestOperation>,
    /// What else has to hold.
    pub when: Vec<RequestCondition>,
}

/// What a value has to be: one of `values`, where there are any, and none of `not_values`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms<T> {
    /// Any of these.
    #[serde(default = "Vec::new")]
    pub values: Vec<T>,
    /// None of these.
    #[serde(default = "Vec::new")]
    pub not_values: Vec<T>,
}

/// The sender. All fields have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestSource {
    /// Its identity without `spiffe://`.
    #[serde(skip_serializing_if = "is_default")]
    pub principals: Terms<StringMatch>,
    /// Issuer and subject of its token, with a slash between.
    #[serde(skip_serializing_if = "is_default")]
    pub request_principals: Terms<StringMatch>,
    /// The namespace of its identity.
    #[serde(skip_serializing_if = "is_default")]
    pub namespaces: Terms<StringMatch>,
    /// Its service account, whatever the trust domain.
    #[serde(skip_serializing_if = "is_default")]
    pub service_accounts: Terms<ServiceAccountMatch>,
    /// The address that the connection comes from.
    #[serde(skip_serializing_if = "is_default")]
    pub ip_blocks: Terms<IpNet>,
    /// The address that the request comes from, through trusted proxies.
    #[serde(skip_serializing_if = "is_default")]
    pub remote_ip_blocks: Terms<IpNet>,
}

/// What is asked for. All fields have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestOperation {
    /// The authority, whatever its case, with its port and without.
    #[serde(skip_serializing_if = "is_default")]
    pub hosts: Terms<StringMatch>,
    /// The port of the destination.
    #[serde(skip_serializing_if = "is_default")]
    pub ports: Terms<u16>,
    /// The method.
    #[serde(skip_serializing_if = "is_default")]
    pub methods: Terms<StringMatch>,
    /// The normalised path, without the query.
    #[serde(skip_serializing_if = "is_default")]
    pub paths: Terms<PathMatch>,
}

/// A case-sensitive condition on a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathMatch {
    /// A condition as on any other string; any path at all for [`StringMatch::Presence`].
    Text(StringMatch),
    /// A template.
    Template(PathTemplate),
}

/// A further condition, by Istio's `when` keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RequestCondition {
    /// `request.headers[name]`.
    Header {
        /// The header's name, whatever its case.
        name: Str,
        /// Its value.
        terms: Terms<StringMatch>,
    },
    /// `source.ip`
    SourceIp(Terms<IpNet>),
    /// `remote.ip`
    RemoteIp(Terms<IpNet>),
    /// `source.namespace`
    SourceNamespace(Terms<StringMatch>),
    /// `source.principal`
    SourcePrincipal(Terms<StringMatch>),
    /// `source.serviceAccount`
    SourceServiceAccount(Terms<ServiceAccountMatch>),
    /// `request.auth.principal`
    AuthPrincipal(Terms<StringMatch>),
    /// `request.auth.audiences`, `request.auth.presenter` and `request.auth.claims[a][b]`: the claims `aud`, `azp` and
    /// that one.
    AuthClaim {
        /// The names on the way to the claim; never none.
        claim: Vec<Str>,
        /// Its value, or any of its values where it is a list.
        terms: Terms<StringMatch>,
    },
    /// `destination.ip`
    DestinationIp(Terms<IpNet>),
    /// `destination.port`
    DestinationPort(Terms<u16>),
    /// `connection.sni`, whatever its case
    Sni(Terms<StringMatch>),
}

// === impl RequestPolicy ===

impl RequestPolicy {
    /// The primary key.
    pub fn key(&self) -> PolicyName {
        PolicyName(format!("{}/{}", self.namespace, self.name).into())
    }

    /// The policy that denies everything that `targets` name: what is enforced in the place of one that cannot be
    /// understood.
    pub fn deny_all(key: (Str, Str), targets: Vec<PolicyTarget>) -> Self {
        let (namespace, name) = key;
        let rules = vec![RequestRule::default()];
        Self { name, namespace, action: RequestAction::Deny, dry_run: false, targets, rules }
    }
}

// === impl Terms ===

impl<T> Terms<T> {
    /// Any of `values`.
    pub fn any_of(values: impl IntoIterator<Item = T>) -> Self {
        Self { values: values.into_iter().collect(), not_values: Vec::new() }
    }

    /// None of `values`.
    pub fn none_of(values: impl IntoIterator<Item = T>) -> Self {
        Self { values: Vec::new(), not_values: values.into_iter().collect() }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.not_values.is_empty()
    }
}

impl<T> Default for Terms<T> {
    fn default() -> Self {
        Self { values: Vec::new(), not_values: Vec::new() }
    }
}

// === impl RequestSource ===

impl RequestSource {
    /// Whether no field is set.
    pub fn is_empty(&self) -> bool {
        is_default(self)
    }
}

// === impl RequestOperation ===

impl RequestOperation {
    /// Whether no field is set.
    pub fn is_empty(&self) -> bool {
        is_default(self)
    }
}
