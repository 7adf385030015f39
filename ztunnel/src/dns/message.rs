//! DNS messages as bytes: what must hold for one to be looked at, and how answers are put together.

use std::time::Duration;

use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{RData, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// The largest datagram without EDNS (RFC 1035 2.3.4), and the smallest size EDNS can ask for.
const MIN_UDP: u16 = 512;
/// The largest datagram we send or take, whatever the other side would.
pub(super) const MAX_UDP: u16 = 4096;
/// The largest message over TCP.
const MAX_TCP: usize = u16::MAX as usize;

/// The longest that answers are kept, positive and negative.
const MAX_POSITIVE: Duration = Duration::from_secs(300);
const MAX_NEGATIVE: Duration = Duration::from_secs(30);

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// A query that could be read.
#[derive(Debug)]
pub(super) struct Received {
    /// As it came.
    pub(super) bytes: Vec<u8>,
    pub(super) message: Message,
    pub(super) transport: Transport,
}

/// What is wrong with a packet from a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Nothing can be answered: too short, or no query.
    Silent,
    /// FORMERR, in the bytes given.
    Answerable(Vec<u8>),
}

/// What the beginning of a response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResponseHead {
    pub(super) code: ResponseCode,
    pub(super) truncated: bool,
}

/// Reads a client's packet.
pub(super) fn receive(bytes: &[u8], transport: Transport) -> Result<Received, Malformed> {
    let header = Header::read(&mut BinDecoder::new(bytes)).map_err(|_| Malformed::Silent)?;
    let metadata = header.metadata;
    if metadata.message_type == MessageType::Response {
        return Err(Malformed::Silent);
    }
    let malformed = || {
        let reply = Message::error_msg(metadata.id, metadata.op_code, ResponseCode::FormErr);
        reply.to_vec().map_or(Malformed::Silent, Malformed::Answerable)
    };
    // The decoder trusts the count enough to allocate for it.
    if header.counts.queries > 1 {
        return Err(malformed());
    }
    let message = Message::from_vec(bytes).map_err(|_| malformed())?;
    Ok(Received { bytes: bytes.to_vec(), message, transport })
}

/// Whether `bytes` answer the question that was sent with `id`, and what they say at first glance. A server that
/// refuses may leave the question out.
pub(super) fn check_response(bytes: &[u8], id: u16, question: &Query) -> Option<ResponseHead> {
    let mut decoder = BinDecoder::new(bytes);
    let Header { metadata, counts } = Header::read(&mut decoder).ok()?;
    let is_answer = metadata.id == id
        && metadata.message_type == MessageType::Response
        && metadata.op_code == OpCode::Query;
    let same_question = match counts.queries {
        0 => metadata.response_code != ResponseCode::NoError && counts.answers == 0,
        1 => same_question(&Query::read(&mut decoder).ok()?, question),
        _ => false,
    };
    let head = ResponseHead { code: metadata.response_code, truncated: metadata.truncation };
    (is_answer && same_question).then_some(head)
}

fn same_question(a: &Query, b: &Query) -> bool {
    // Names compare without regard to case.
    a.name() == b.name() && a.query_type() == b.query_type() && a.query_class() == b.query_class()
}

/// How many answers a response says it has.
pub(super) fn answer_count(response: &[u8]) -> usize {
    match response {
        [_, _, _, _, _, _, high, low, ..] => u16::from_be_bytes([*high, *low]).into(),
        _ => 0,
    }
}

/// `query` under another id.
pub(super) fn with_id(query: &[u8], id: u16) -> Option<Vec<u8>> {
    let rest = query.get(2..)?;
    Some([&id.to_be_bytes(), rest].concat())
}

impl Received {
    /// The only question. Queries with another number of them were refused.
    pub(super) fn question(&self) -> Option<&Query> {
        self.message.queries.first()
    }

    /// The largest answer that the client takes, in bytes.
    pub(super) fn limit(&self) -> usize {
        match (self.transport, &self.message.edns) {
            (Transport::Tcp, _) => MAX_TCP,
            (Transport::Udp, None) => MIN_UDP.into(),
            (Transport::Udp, Some(edns)) => edns.max_payload().clamp(MIN_UDP, MAX_UDP).into(),
        }
    }

    /// An answer of our own without records.
    pub(super) fn reply(&self, code: ResponseCode) -> Message {
        let query = &self.message;
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        reply.metadata.recursion_desired = query.metadata.recursion_desired;
        reply.metadata.checking_disabled = query.metadata.checking_disabled;
        reply.metadata.recursion_available = true;
        reply.metadata.response_code = code;
        reply.queries.extend(self.message.queries.first().cloned());
        reply.edns = query.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().max(MIN_UDP));
            edns.set_dnssec_ok(asked.flags().dnssec_ok);
            edns
        });
        reply
    }

    /// The bytes of `reply`, cut to nothing but the question where the client could not take it whole.
    pub(super) fn encode(&self, reply: &Message) -> Option<Vec<u8>> {
        let whole = reply.to_vec().ok().filter(|bytes| bytes.len() <= self.limit());
        whole.or_else(|| reply.truncate().to_vec().ok())
    }

    /// The bytes of an answer without records.
    pub(super) fn refuse(&self, code: ResponseCode) -> Option<Vec<u8>> {
        self.encode(&self.reply(code))
    }

    /// Makes a server's response the client's: its id, not authoritative, recursion available, and no longer than the
    /// client can take.
    pub(super) fn relay(&self, mut response: Vec<u8>) -> Option<Vec<u8>> {
        let head = check_response(
            &response,
            u16::from_be_bytes(*response.first_chunk()?),
            self.question()?,
        )?;
        if response.len() > self.limit() {
            let reply = self.reply(head.code);
            return reply.truncate().to_vec().ok();
        }
        let [id_high, id_low, flags_high, flags_low, ..] = response.as_mut_slice() else {
            return None;
        };
        [*id_high, *id_low] = self.message.metadata.id.to_be_bytes();
        *flags_high &= !0x04;
        *flags_low |= 0x80;
        Some(response)
    }

    /// An answer made of a kept one of a certain age.
    pub(super) fn relay_kept(&self, kept: &[u8], age: Duration) -> Option<Vec<u8>> {
        let kept = Message::from_vec(kept).ok()?;
        let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        let aged = |records: Vec<Record>| -> Vec<Record> {
            records
                .into_iter()
                .map(|mut record| {
                    record.decrement_ttl(age);
                    record
                })
                .collect()
        };
        let mut reply = self.reply(kept.metadata.response_code);
        reply.metadata.authentic_data = kept.metadata.authentic_data;
        reply.answers = aged(kept.answers);
        reply.authorities = aged(kept.authorities);
        reply.additionals = aged(kept.additionals);
        self.encode(&reply)
    }
}

/// How long a response may be kept: the smallest time to live of its records; for a name or type that does not exist,
/// what the zone's SOA says (RFC 2308 5). Nothing for everything else.
pub(super) fn lifetime(response: &[u8]) -> Option<Duration> {
    let response = Message::from_vec(response).ok()?;
    if response.metadata.truncation {
        return None;
    }
    let (seconds, longest) = match response.metadata.response_code {
        ResponseCode::NoError if !response.answers.is_empty() => {
            let records = response.all_sections();
            (records.map(|record| record.ttl).min(), MAX_POSITIVE)
        }
        ResponseCode::NoError | ResponseCode::NXDomain => {
            let soa = response.authorities.iter().find_map(|record| match &record.data {
                RData::SOA(soa) => Some(soa.minimum.min(record.ttl)),
                _ => None,
            });
            let aliases = response.answers.iter().map(|record| record.ttl).min();
            (soa.map(|soa| soa.min(aliases.unwrap_or(soa))), MAX_NEGATIVE)
        }
        _ => return None,
    };
    let lifetime = Duration::from_secs(seconds?.into()).min(longest);
    (!lifetime.is_zero()).then_some(lifetime)
}

#[cfg(test)]
mod tests;
