//! What an answer to a `TokenReview` means. Pure.

use std::collections::BTreeSet;

use ambit_model::Str;
use k8s_openapi::api::authentication::v1::TokenReviewStatus;

use super::Account;
use crate::serve::Caller;
use crate::watch::kinds::Pod;

// Kubernetes sets these for tokens that it has bound to a pod: KEP-1205 and KEP-4193.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// Who the API server says that a token belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) namespace: Str,
    pub(super) service_account: Str,
    pub(super) pod: Str,
    pub(super) uid: Str,
    /// The node at the time the token was made; clusters before 1.30 do not say.
    pub(super) node: Option<Str>,
}

/// Reads the API server's answer. `Err` is the reason for which the token does not count.
pub(super) fn bearer(status: TokenReviewStatus, audiences: &[String]) -> Result<Bearer, String> {
    if status.authenticated != Some(true) {
        return Err(status.error.unwrap_or_else(|| "the API server does not accept it".to_owned()));
    }
    // A server that does not know audiences has checked none.
    let granted = status.audiences.unwrap_or_default();
    if !granted.iter().any(|audience| audiences.contains(audience)) {
        let audiences = audiences.join(", ");
        return Err(format!(
            "its audience is none of {audiences}; project a token for that audience"
        ));
    }
    let user = status.user.unwrap_or_default();
    let name = user.username.unwrap_or_default();
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let Some((namespace, service_account)) = account else {
        return Err("it is not a service account's".to_owned());
    };
    let extra = user.extra.unwrap_or_default();
    let extra = |key: &str| extra.get(key).and_then(|values| values.first());
    let (Some(pod), Some(uid)) = (extra(POD_NAME), extra(POD_UID)) else {
        return Err("it is not bound to a pod; use a projected token".to_owned());
    };
    Ok(Bearer {
        namespace: namespace.into(),
        service_account: service_account.into(),
        pod: pod.as_str().into(),
        uid: uid.as_str().into(),
        node: extra(NODE_NAME).map(|node| node.as_str().into()),
    })
}

/// The caller, if the pod that the token is bound to is there.
pub(super) fn caller(
    bearer: &Bearer,
    pod: Option<&Pod>,
    trusted: &BTreeSet<Account>,
) -> Result<Caller, String> {
    let Bearer { namespace, service_account, pod: name, .. } = bearer;
    let Some(pod) = pod.filter(|pod| *pod.uid == *bearer.uid) else {
        return Err(format!("its pod {namespace}/{name} is not there, or is another one now"));
    };
    if pod.service_account != *service_account {
        return Err(format!("pod {namespace}/{name} does not use {service_account}"));
    }
    if pod.node.is_empty() || bearer.node.as_ref().is_some_and(|node| *node != pod.node) {
        return Err(format!("pod {namespace}/{name} is not on the token's node"));
    }
    let account = Account { namespace: namespace.clone(), name: service_account.clone() };
    Ok(Caller {
        node: pod.node.clone(),
        namespace: namespace.clone(),
        service_account: service_account.clone(),
        impersonates: trusted.contains(&account),
    })
}

#[cfg(test)]
mod tests;
