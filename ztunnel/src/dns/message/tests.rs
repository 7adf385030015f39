use std::net::Ipv4Addr;

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RecordType};

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn question() -> Query {
    Query::query(name("a.example."), RecordType::A)
}

fn query(edns: Option<u16>) -> Message {
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(question());
    query.edns = edns.map(|payload| {
        let mut edns = Edns::new();
        edns.set_max_payload(payload).set_dnssec_ok(true);
        edns
    });
    query
}

fn received(edns: Option<u16>, transport: Transport) -> Received {
    receive(&query(edns).to_vec().unwrap(), transport).unwrap()
}

/// A response with an id of its own and so many addresses.
fn response(addresses: u32, ttl: u32) -> Message {
    let mut response = Message::response(99, OpCode::Query);
    response.metadata.authoritative = true;
    response.add_query(question());
    for number in 0..addresses {
        let ip = Ipv4Addr::from(0x0a00_0000 + number);
        response.add_answer(Record::from_rdata(name("a.example."), ttl, RData::A(ip.into())));
    }
    response
}

fn soa(ttl: u32, minimum: u32) -> Record {
    let soa = SOA::new(name("ns.example."), name("me.example."), 1, 2, 3, 4, minimum);
    Record::from_rdata(name("example."), ttl, RData::SOA(soa))
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

#[test]
fn what_is_no_query_is_not_answered() {
    for packet in [&b""[..], b"short", &bytes(&response(1, 30)), &[0xff; 11]] {
        assert!(matches!(receive(packet, Transport::Udp), Err(Malformed::Silent)), "{packet:?}");
    }
}

#[test]
fn a_query_that_cannot_be_read_is_a_format_error() {
    let mut cut = bytes(&query(None));
    cut.truncate(20);
    let mut endless = bytes(&query(None));
    endless[4..6].copy_from_slice(&u16::MAX.to_be_bytes());
    let mut looping = bytes(&query(None));
    looping[12..14].copy_from_slice(&[0xc0, 12]);
    for packet in [cut, endless, looping] {
        let Err(Malformed::Answerable(reply)) = receive(&packet, Transport::Udp) else {
            panic!("{packet:?}");
        };
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!((reply.metadata.id, reply.metadata.response_code), (7, ResponseCode::FormErr));
    }
}

#[test]
fn the_clients_limit() {
    for (edns, transport, limit) in [
        (None, Transport::Udp, 512),
        (Some(100), Transport::Udp, 512),
        (Some(1232), Transport::Udp, 1232),
        (Some(u16::MAX), Transport::Udp, 4096),
        (None, Transport::Tcp, 65535),
        (Some(1232), Transport::Tcp, 65535),
    ] {
        assert_eq!(received(edns, transport).limit(), limit, "{edns:?} {transport:?}");
    }
}

#[test]
fn replies_repeat_what_the_query_said() {
    let reply = received(Some(100), Transport::Udp).reply(ResponseCode::NXDomain);
    assert_eq!((reply.metadata.id, &reply.queries), (7, &vec![question()]));
    assert!(reply.metadata.recursion_desired && reply.metadata.recursion_available);
    let edns = reply.edns.unwrap();
    assert_eq!((edns.max_payload(), edns.version(), edns.flags().dnssec_ok), (512, 0, true));
    assert_eq!(received(None, Transport::Udp).reply(ResponseCode::NoError).edns, None);
}

#[test]
fn what_does_not_fit_is_cut_and_says_so() {
    let client = received(None, Transport::Udp);
    for (addresses, fits) in [(20, true), (200, false)] {
        let mut reply = client.reply(ResponseCode::NoError);
        reply.answers = response(addresses, 30).answers;
        let sent = client.encode(&reply).unwrap();
        let relayed = client.relay(bytes(&response(addresses, 30))).unwrap();
        for packet in [sent, relayed] {
            assert!(packet.len() <= 512);
            let packet = Message::from_vec(&packet).unwrap();
            assert_eq!(packet.metadata.id, 7);
            assert_eq!(packet.metadata.truncation, !fits);
            assert_eq!(packet.answers.len(), if fits { addresses as usize } else { 0 });
            assert_eq!(packet.queries, [question()]);
        }
    }
}

#[test]
fn relayed_responses_are_the_clients_and_not_authoritative() {
    let client = received(None, Transport::Udp);
    let mut expected = response(1, 30);
    let relayed = client.relay(bytes(&expected)).unwrap();
    expected.metadata.id = 7;
    expected.metadata.authoritative = false;
    expected.metadata.recursion_available = true;
    assert_eq!(Message::from_vec(&relayed).unwrap(), expected);
}

#[test]
fn only_answers_to_the_question_count() {
    let good = response(1, 30);
    let check = |response: &Message| check_response(&bytes(response), 99, &question());
    let head = ResponseHead { code: ResponseCode::NoError, truncated: false };
    assert_eq!(check(&good), Some(head));

    let changed = |change: &dyn Fn(&mut Message)| {
        let mut response = good.clone();
        change(&mut response);
        check(&response)
    };
    assert_eq!(changed(&|r| r.metadata.id = 98), None);
    assert_eq!(changed(&|r| r.metadata.message_type = MessageType::Query), None);
    assert_eq!(changed(&|r| r.metadata.op_code = OpCode::Notify), None);
    assert_eq!(
        changed(&|r| r.queries = vec![Query::query(name("b.example."), RecordType::A)]),
        None
    );
    assert_eq!(
        changed(&|r| r.queries = vec![Query::query(name("a.example."), RecordType::MX)]),
        None
    );
    assert_eq!(changed(&|r| r.queries.push(question())), None);
    assert_eq!(changed(&|r| r.queries.clear()), None, "without a question only refusals");
    let other_case = Query::query(name("A.eXample."), RecordType::A);
    assert_eq!(changed(&|r| r.queries = vec![other_case.clone()]), Some(head));
    let refused = ResponseHead { code: ResponseCode::Refused, truncated: false };
    assert_eq!(
        changed(&|r| {
            r.queries.clear();
            r.answers.clear();
            r.metadata.response_code = ResponseCode::Refused;
        }),
        Some(refused)
    );
    let cut = ResponseHead { code: ResponseCode::NoError, truncated: true };
    assert_eq!(changed(&|r| r.metadata.truncation = true), Some(cut));
}

#[test]
fn answers_are_counted_without_reading_them() {
    assert_eq!(answer_count(&bytes(&response(3, 30))), 3);
    assert_eq!(answer_count(b"short"), 0);
}

#[test]
fn how_long_responses_are_kept() {
    let with = |change: &dyn Fn(&mut Message)| {
        let mut response = response(0, 0);
        change(&mut response);
        lifetime(&bytes(&response)).map(|lifetime| lifetime.as_secs())
    };
    let code = |code, authority: Option<Record>| {
        with(&|r| {
            r.metadata.response_code = code;
            r.authorities.extend(authority.clone());
        })
    };
    use ResponseCode::{NXDomain, NoError, Refused, ServFail};
    assert_eq!(with(&|r| r.answers = response(2, 20).answers), Some(20));
    assert_eq!(
        with(&|r| r.answers = [response(1, 20).answers, response(1, 10).answers].concat()),
        Some(10)
    );
    assert_eq!(with(&|r| r.answers = response(1, 86400).answers), Some(300));
    assert_eq!(with(&|r| r.answers = response(1, 0).answers), None);
    assert_eq!(code(NXDomain, Some(soa(20, 10))), Some(10), "the SOA's minimum");
    assert_eq!(code(NXDomain, Some(soa(5, 10))), Some(5), "its own time to live");
    assert_eq!(code(NXDomain, Some(soa(3600, 3600))), Some(30));
    assert_eq!(code(NoError, Some(soa(20, 10))), Some(10), "no such type");
    assert_eq!(code(NXDomain, None), None, "without SOA");
    assert_eq!(code(ServFail, Some(soa(20, 10))), None);
    assert_eq!(code(Refused, None), None);
    assert_eq!(
        with(&|r| {
            r.answers = response(1, 20).answers;
            r.metadata.truncation = true;
        }),
        None
    );
    assert_eq!(lifetime(b"no DNS"), None);
}

#[test]
fn kept_responses_age() {
    let client = received(Some(1232), Transport::Udp);
    let mut kept = response(2, 20);
    kept.add_authority(soa(5, 5));
    let reply = client.relay_kept(&bytes(&kept), Duration::from_secs(8)).unwrap();
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.metadata.id, 7);
    assert!(!reply.metadata.authoritative && reply.metadata.recursion_available);
    assert_eq!(reply.answers.iter().map(|record| record.ttl).collect::<Vec<_>>(), [12, 12]);
    assert_eq!(reply.authorities[0].ttl, 0);
    assert!(reply.edns.is_some());
}

/// Every byte of `packet` replaced by every other value, and every beginning of it.
fn damaged(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let replaced = (0..packet.len()).flat_map(move |position| {
        (0..=u8::MAX).map(move |value| {
            let mut packet = packet.to_vec();
            packet[position] = value;
            packet
        })
    });
    replaced.chain((0..packet.len()).map(|length| packet[..length].to_vec()))
}

#[test]
fn damaged_queries_are_survived() {
    let whole = bytes(&query(Some(1232)));
    let (mut read, mut refused) = (0, 0);
    for packet in damaged(&whole) {
        match receive(&packet, Transport::Udp) {
            Ok(received) => {
                assert!(received.refuse(ResponseCode::ServFail).is_some());
                read += 1;
            }
            Err(Malformed::Answerable(reply)) => {
                assert!(Message::from_vec(&reply).is_ok());
                refused += 1;
            }
            Err(Malformed::Silent) => {}
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} {refused}");
}

#[test]
fn damaged_responses_are_survived() {
    let client = received(None, Transport::Udp);
    let mut answer = response(2, 20);
    answer.add_authority(soa(20, 10));
    let whole = bytes(&answer);
    for packet in damaged(&whole) {
        let accepted = check_response(&packet, 99, &question()).is_some();
        let _ = lifetime(&packet);
        let _ = client.relay_kept(&packet, Duration::from_secs(1));
        let relayed = client.relay(packet);
        assert!(!accepted || relayed.is_some_and(|packet| packet.len() <= 512));
    }
}
