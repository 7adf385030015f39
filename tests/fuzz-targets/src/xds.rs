//! What a control plane says of workloads, services and policies of layer 4.

use ambit_xds::decode::{self, Address};
use ambit_xds::{Interner, encode};

/// An Address: what is understood is written and read again.
pub(crate) fn workload(data: &[u8]) {
    let mut interner = Interner::default();
    let Ok(address) = decode::address(data, &mut interner) else { return };
    let encoded = match &address {
        Address::Workload(workload) => encode::Encoded::workload(workload),
        Address::Service(service) => encode::Encoded::service(encode::service(service)),
    };
    let again = decode::address(&encoded.body, &mut interner);
    assert_eq!(again.as_ref(), Ok(&address));
}

/// An Authorization: what is understood is written and read again; what is not has something to enforce instead.
pub(crate) fn authorization(data: &[u8]) {
    let mut interner = Interner::default();
    let decoded = decode::policy(data, &mut interner);
    if let Ok(policy) = &decoded.policy {
        let encoded = encode::Encoded::authorization(policy);
        let again = decode::policy(&encoded.body, &mut interner);
        assert_eq!(again.policy.as_ref(), Ok(policy));
    }
}
