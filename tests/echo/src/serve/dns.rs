//! A DNS responder over UDP with fixed answers.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result};
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RData, Record as DnsRecord};
use tokio::net::UdpSocket;

/// How long answers may be kept, in seconds.
const TTL: u32 = 5;

/// An address of a name.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    name: Name,
    address: IpAddr,
}

impl FromStr for Record {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, address) = text.split_once('=').context("not of the form name=ip")?;
        let mut name = Name::from_utf8(name).with_context(|| format!("{name:?} is no DNS name"))?;
        name.set_fqdn(true);
        let address = address.parse().with_context(|| format!("{address:?} is no IP address"))?;
        Ok(Self { name, address })
    }
}

/// Answers until the process ends; what is no query gets no answer.
pub(super) async fn serve(socket: UdpSocket, records: Arc<[Record]>) {
    let mut buffer = vec![0; 4096];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let query = buffer.get(..length).and_then(|bytes| Message::from_vec(bytes).ok());
        let Some(Ok(answer)) = query.and_then(|query| answer(&query, &records)).map(|a| a.to_vec())
        else {
            continue;
        };
        let _ = socket.send_to(&answer, peer).await;
    }
}

/// The answer to the first question: its records, NOERROR without any where the name has only others, or NXDOMAIN.
fn answer(query: &Message, records: &[Record]) -> Option<Message> {
    let question = query.queries.first()?;
    let is_query = query.metadata.message_type == MessageType::Query;
    if !is_query || query.metadata.op_code != OpCode::Query {
        return None;
    }
    let mut answer = Message::response(query.metadata.id, OpCode::Query);
    answer.add_query(question.clone());
    answer.metadata.authoritative = true;
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    let mut known = false;
    for Record { name, address } in records.iter().filter(|record| record.name == *question.name())
    {
        known = true;
        let data = match address {
            IpAddr::V4(v4) => RData::A((*v4).into()),
            IpAddr::V6(v6) => RData::AAAA((*v6).into()),
        };
        if data.record_type() == question.query_type() {
            answer.add_answer(DnsRecord::from_rdata(name.clone(), TTL, data));
        }
    }
    if !known {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    Some(answer)
}
