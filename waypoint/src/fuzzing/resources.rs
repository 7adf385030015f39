//! What the controller says, from its bytes to what is in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use ambit_proto::ambit as proto;
use ambit_xds::decode;
use ambit_xds::{Change, Interner, ResourceType, encode};
use bytes::Bytes;
use http::HeaderMap;
use prost::Message;

use crate::destination::{Destinations, Place};
use crate::labels::KnownLabels;
use crate::rules::{Asked, Book, Caller, Rules};

/// A Route of a service or of a listener's host.
pub fn route(data: &[u8]) {
    let Ok(message) = proto::Route::decode(data) else {
        return refused(ResourceType::Route, "service/shop/web", data);
    };
    let name = match message.target {
        Some(proto::route::Target::Service(service)) => format!("service/{service}"),
        Some(proto::route::Target::Listener(of)) => {
            format!("listener/{}/{}", of.listener, of.hostname)
        }
        None => return refused(ResourceType::Route, "service/shop/web", data),
    };
    comes_and_goes(ResourceType::Route, &name, data);
}

/// A Listener.
pub fn listener(data: &[u8]) {
    let name = proto::Listener::decode(data).map(|message| message.name).unwrap_or_default();
    comes_and_goes(ResourceType::Listener, &name, data);
}

/// A TrafficPolicy.
pub fn traffic_policy(data: &[u8]) {
    let name = proto::TrafficPolicy::decode(data).map(|message| message.service);
    comes_and_goes(ResourceType::TrafficPolicy, &name.unwrap_or_default(), data);
}

/// A RequestPolicy. What is understood is written and read again; what is not denies.
pub fn request_policy(data: &[u8]) {
    let named = proto::RequestPolicy::decode(data);
    let name = named.map(|message| format!("{}/{}", message.namespace, message.name));
    let name = name.unwrap_or_else(|_| "shop/web".to_owned());
    let mut interner = Interner::default();
    let decoded = decode::request_policy(&name, data, &mut interner);
    match &decoded.policy {
        Ok(policy) => {
            let bytes = encode::request_policy(policy).encode_to_vec();
            let again = decode::request_policy(&name, &bytes, &mut interner);
            assert_eq!(again.policy.as_ref(), Ok(policy));
        }
        Err(_) => {
            let audit = proto::RequestPolicy::decode(data)
                .is_ok_and(|message| message.action == i32::from(proto::RequestAction::Audit));
            assert!(decoded.stand_in.is_some() || audit, "{name:?} is passed over");
        }
    }
    let mut book = book();
    let rejected = apply(&mut book, ResourceType::RequestPolicy, &name, data);
    assert_eq!(rejected, decoded.policy.is_err());
    comes_and_goes(ResourceType::RequestPolicy, &name, data);
}

fn book() -> Book {
    let state = ambit_state::Store::new(ambit_state::Config::default()).reader();
    let labels = KnownLabels::default();
    Book::new(Destinations::new(state, labels.clone(), Place::default()), labels)
}

/// Takes a resource in; whether it was refused.
fn apply(book: &mut Book, kind: ResourceType, name: &str, data: &[u8]) -> bool {
    let body = Bytes::copy_from_slice(data);
    let rejected = book.apply([Change::Resource { kind, name: name.into(), body }]);
    for resource in &rejected {
        assert!(!resource.reason.is_empty());
    }
    !rejected.is_empty()
}

fn refused(kind: ResourceType, name: &str, data: &[u8]) {
    let mut book = book();
    assert!(apply(&mut book, kind, name, data), "{name:?} is taken");
    assert_eq!(names(&book.reader().load()), BTreeSet::new());
}

/// The same bytes are taken twice or refused twice, and nothing is left when the resource goes.
fn comes_and_goes(kind: ResourceType, name: &str, data: &[u8]) {
    let mut book = book();
    let rejected = apply(&mut book, kind, name, data);
    let first = names(&book.reader().load());
    assert!(!rejected || first.is_empty() || kind == ResourceType::RequestPolicy, "{first:?}");
    assert_eq!(apply(&mut book, kind, name, data), rejected);
    assert_eq!(names(&book.reader().load()), first);
    ask(&book.reader().load());
    // By another name it is no better; under that nothing could remove it.
    if kind != ResourceType::RequestPolicy && !name.is_empty() {
        assert!(apply(&mut book, kind, &format!("{name}x"), data), "{name:?} by another name");
    }
    book.apply([Change::Removed { kind, name: name.into() }]);
    assert_eq!(names(&book.reader().load()), BTreeSet::new(), "left of {name:?}");
}

fn names(rules: &Rules) -> BTreeSet<String> {
    let services = rules.services.keys().map(ToString::to_string);
    let ports = rules.fronts.keys().map(|port| format!(":{port}"));
    services.chain(ports).collect()
}

/// Every table of every port is asked for a few requests and connections.
fn ask(rules: &Rules) {
    let (headers, caller) = (HeaderMap::new(), Caller::default());
    for (method, path) in [("GET", "/"), ("POST", "/a/b/c"), ("OPTIONS", "*")] {
        let asked = Asked {
            method,
            scheme: "http",
            authority: "web.shop",
            path,
            query: "a=b&c",
            headers: &headers,
            caller: &caller,
        };
        for route in rules.services.values() {
            let ports = [0, 80, 443].into_iter().filter_map(|port| route.port(port));
            for table in ports.filter_map(|port| port.table(&caller)) {
                let matched = table.request(&asked).map_or(0, |found| found.matched);
                assert!(matched <= path.len(), "{matched} bytes of {path}");
                let _ = table.tls("web.shop", [10, 0, 0, 1].into(), &caller);
                let _ = table.tcp([10, 0, 0, 1].into(), &caller);
            }
        }
        for front in rules.fronts.values() {
            let _: Option<&Arc<_>> = front.table("web.shop");
            let _ = (front.is_tls(), front.listener(""), front.spoken(Some("web.shop")));
        }
    }
}
