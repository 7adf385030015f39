//! What the fuzz targets call; nothing else does.

use std::fs::File;
use std::os::fd::OwnedFd;

use crate::message::{self, decode_answer, decode_hello, encode_answer};
use crate::{MAX_PACKET, Request};

/// A packet read as each of the three kinds; what is understood is written and read again.
pub fn zds_packet(data: &[u8]) {
    let _ = decode_hello(data);
    let descriptors = || File::open("/dev/null").map(OwnedFd::from).into_iter().collect();
    let request =
        Request::decode(data, Vec::new()).or_else(|_| Request::decode(data, descriptors()));
    if let Ok(request) = request {
        reencoded(&request, descriptors());
    }
    if let Ok(said) = decode_answer(data) {
        let packet = encode_answer(said.as_deref().map_or(Ok(()), Err));
        assert!(packet.len() <= MAX_PACKET, "an answer of {} bytes", packet.len());
        let again = decode_answer(&packet).ok().flatten();
        assert_eq!(again.is_some(), said.is_some(), "an error is no success");
        let (again, said) = (again.unwrap_or_default(), said.unwrap_or_default());
        assert!(said.starts_with(&again), "{said:?} was read as {again:?}");
    }
}

fn reencoded(request: &Request, descriptors: Vec<OwnedFd>) {
    // What came in no packet of ours may be too large for one.
    let Ok((packet, dropped)) = request.encode() else { return };
    assert!(packet.len() <= MAX_PACKET, "a request of {} bytes", packet.len());
    let descriptors = match request {
        Request::Add { .. } => descriptors,
        _ => Vec::new(),
    };
    let again = message::Request::decode(&packet, descriptors);
    let same = again.as_ref().is_ok_and(|again| match (request, again) {
        (Request::Add { uid, info, .. }, Request::Add { uid: other, info: read, .. }) => {
            let whole = dropped == message::Dropped::default();
            uid == other && info.name == read.name && (!whole || info == read)
        }
        (Request::Keep { uid }, Request::Keep { uid: other })
        | (Request::Del { uid }, Request::Del { uid: other }) => uid == other,
        (Request::SnapshotSent, Request::SnapshotSent) => true,
        _ => false,
    });
    assert!(same, "{request:?} was read as {again:?}");
}
