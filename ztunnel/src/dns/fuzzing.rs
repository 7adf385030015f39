//! What the fuzz target of DNS messages calls.

use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};

use super::message::{Malformed, Transport, check_response, lifetime, receive, with_id};
use super::plan::refusal;

const KEPT: Duration = Duration::from_secs(3600);

/// A query, and the same bytes as a server's response to it and to one of ours.
pub(crate) fn message(data: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp] {
        let received = match receive(data, transport) {
            Ok(received) => received,
            Err(Malformed::Silent) => continue,
            Err(Malformed::Answerable(reply)) => {
                assert!(reply.len() <= 512 && is_answer(&reply, data), "FORMERR: {reply:?}");
                continue;
            }
        };
        let _ = refusal(&received.message);
        for code in [ResponseCode::Refused, ResponseCode::ServFail] {
            let Some(reply) = received.refuse(code) else { continue };
            assert!(reply.len() <= received.limit(), "{} bytes", reply.len());
            assert!(is_answer(&reply, data));
        }
        if let Some(question) = received.question() {
            let asked = Message::query().metadata.id;
            let _ = check_response(data, asked, question);
        }
    }
    response(data);
}

/// As the response to the question that it repeats.
fn response(data: &[u8]) {
    let kept = lifetime(data);
    assert!(kept.is_none_or(|kept| !kept.is_zero() && kept <= KEPT));
    // The query that this would answer: the same bytes with the bit of a response cleared.
    let mut query = data.to_vec();
    let [_, _, flags, _, ..] = query.as_mut_slice() else { return };
    *flags &= 0x7f;
    let Ok(received) = receive(&query, Transport::Udp) else { return };
    let Some(response) = with_id(data, 0x1234) else { return };
    for reply in [received.relay(response.clone()), received.relay_kept(&response, KEPT)] {
        let Some(reply) = reply else { continue };
        assert!(reply.len() <= received.limit().max(response.len()), "{} bytes", reply.len());
        assert!(is_answer(&reply, data), "{reply:?}");
    }
}

/// Whether `reply` is a response with the id of `query`.
fn is_answer(reply: &[u8], query: &[u8]) -> bool {
    reply.len() >= 12
        && reply.get(..2) == query.get(..2)
        && reply.get(2).is_some_and(|b| b & 0x80 != 0)
}
