//! The messages, as the rest of the program knows them.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ambit_proto::workload::zds;
use ambit_proto::workload::zds::workload_request::Payload;
use ambit_proto::workload::zds::workload_response;
use prost::Message;

use crate::{Error, MAX_PACKET};

/// What an agent tells a ztunnel. `N` is how the sender or receiver holds a network namespace's descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<N = OwnedFd> {
    /// Serve this pod. Also sent for pods that are served already.
    Add {
        /// The pod's UID.
        uid: String,
        /// Who it is.
        info: WorkloadInfo,
        /// Its network namespace; nothing says yet that it is one.
        netns: N,
    },
    /// Go on serving this pod, if it is; its namespace is not known at the moment. Only before `SnapshotSent`.
    Keep {
        /// The pod's UID.
        uid: String,
    },
    /// The pod is gone.
    Del {
        /// The pod's UID.
        uid: String,
    },
    /// All pods have been named. Sent once.
    SnapshotSent,
}

/// Who a pod is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadInfo {
    /// The pod's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// How its own `resolv.conf` reads; never sent by other agents, and ignored by other proxies.
    pub dns: Option<DnsConfig>,
}

/// A pod's resolver configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// Name servers, most preferred first.
    pub nameservers: Vec<IpAddr>,
    /// The search list, in order.
    pub searches: Vec<String>,
}

/// What was left out of a resolver configuration so that its message fits into a packet. Search domains go first, the
/// last of them first; name servers only when no search domain is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Search domains left out.
    pub searches: usize,
    /// Name servers left out.
    pub nameservers: usize,
}

// === impl Request ===

impl<N> Request<N> {
    /// The pod that it is about.
    pub fn uid(&self) -> Option<&str> {
        match self {
            Self::Add { uid, .. } | Self::Keep { uid } | Self::Del { uid } => Some(uid),
            Self::SnapshotSent => None,
        }
    }

    /// The packet, without its descriptor.
    pub(crate) fn encode(&self) -> Result<(Vec<u8>, Dropped), Error> {
        let payload = match self {
            Self::Add { uid, info, .. } => Payload::Add(zds::AddWorkload {
                uid: uid.clone(),
                workload_info: Some(info.into()),
            }),
            Self::Keep { uid } => Payload::Keep(zds::KeepWorkload { uid: uid.clone() }),
            Self::Del { uid } => Payload::Del(zds::DelWorkload { uid: uid.clone() }),
            Self::SnapshotSent => Payload::SnapshotSent(zds::SnapshotSent {}),
        };
        let mut message = zds::WorkloadRequest { payload: Some(payload) };
        let dropped = shrink(&mut message);
        Ok((fitting(&message)?, dropped))
    }
}

impl<N: AsFd> Request<N> {
    /// The descriptor that goes with the packet.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Add { netns, .. } => Some(netns.as_fd()),
            _ => None,
        }
    }
}

impl Request {
    /// Reads a packet and the descriptors that came with it.
    pub(crate) fn decode(packet: &[u8], descriptors: Vec<OwnedFd>) -> Result<Self, Error> {
        let message = zds::WorkloadRequest::decode(packet)?;
        let payload = message.payload.ok_or(Error::Violation("a request without content"))?;
        let mut descriptors = descriptors.into_iter();
        let request = match (payload, descriptors.next()) {
            (Payload::Add(add), Some(netns)) => {
                let info =
                    add.workload_info.ok_or(Error::Violation("a pod without workload info"))?;
                Self::Add { uid: add.uid, info: info.into(), netns }
            }
            (Payload::Add(_), None) => {
                return Err(Error::Violation("a pod without a network namespace"));
            }
            (Payload::Keep(keep), None) => Self::Keep { uid: keep.uid },
            (Payload::Del(del), None) => Self::Del { uid: del.uid },
            (Payload::SnapshotSent(_), None) => Self::SnapshotSent,
            (_, Some(_)) => return Err(Error::Violation("a descriptor that belongs to no pod")),
        };
        if descriptors.next().is_some() {
            return Err(Error::Violation("more than one descriptor"));
        }
        match request.uid() {
            Some("") => Err(Error::Violation("a pod without a UID")),
            _ => Ok(request),
        }
    }
}

/// Takes entries out of the resolver configuration until the message fits or none is left.
fn shrink(message: &mut zds::WorkloadRequest) -> Dropped {
    let mut dropped = Dropped::default();
    while message.encoded_len() > MAX_PACKET {
        let Some(Payload::Add(add)) = &mut message.payload else {
            break;
        };
        let Some(info) = &mut add.workload_info else {
            break;
        };
        let Some(dns) = &mut info.dns else { break };
        if dns.searches.pop().is_some() {
            dropped.searches += 1;
        } else if dns.nameservers.pop().is_some() {
            dropped.nameservers += 1;
        } else {
            info.dns = None;
        }
    }
    dropped
}

fn fitting(message: &impl Message) -> Result<Vec<u8>, Error> {
    match message.encoded_len() {
        length if length > MAX_PACKET => Err(Error::TooLarge(length)),
        _ => Ok(message.encode_to_vec()),
    }
}

// === hello and answer ===

/// The first packet of a ztunnel.
pub(crate) fn encode_hello() -> Vec<u8> {
    zds::ZdsHello { version: zds::Version::V1.into() }.encode_to_vec()
}

/// The version that a ztunnel says it speaks. Any number is accepted, as Istio's agent does.
pub(crate) fn decode_hello(packet: &[u8]) -> Result<i32, Error> {
    Ok(zds::ZdsHello::decode(packet)?.version)
}

/// An answer; the text is cut if it is too long.
pub(crate) fn encode_answer(answer: Result<(), &str>) -> Vec<u8> {
    /// What tags and lengths around the text take.
    const AROUND: usize = 16;
    let error = match answer {
        Ok(()) => "",
        // An empty text would mean success.
        Err("") => "unknown error",
        Err(text) => text.get(..text.floor_char_boundary(MAX_PACKET - AROUND)).unwrap_or(text),
    };
    let ack = zds::Ack { error: error.to_owned() };
    zds::WorkloadResponse { payload: Some(workload_response::Payload::Ack(ack)) }.encode_to_vec()
}

/// Reads an answer: the error that the ztunnel reports, if it does.
pub(crate) fn decode_answer(packet: &[u8]) -> Result<Option<String>, Error> {
    match zds::WorkloadResponse::decode(packet)?.payload {
        Some(workload_response::Payload::Ack(ack)) => Ok(Some(ack.error).filter(|e| !e.is_empty())),
        None => Err(Error::Violation("an answer without content")),
    }
}

// === conversion ===

impl From<&WorkloadInfo> for zds::WorkloadInfo {
    fn from(info: &WorkloadInfo) -> Self {
        Self {
            name: info.name.clone(),
            namespace: info.namespace.clone(),
            service_account: info.service_account.clone(),
            dns: info.dns.as_ref().map(|dns| zds::DnsConfig {
                nameservers: dns.nameservers.iter().map(ToString::to_string).collect(),
                searches: dns.searches.clone(),
            }),
        }
    }
}

impl From<zds::WorkloadInfo> for WorkloadInfo {
    fn from(info: zds::WorkloadInfo) -> Self {
        Self {
            name: info.name,
            namespace: info.namespace,
            service_account: info.service_account,
            dns: info.dns.map(|dns| DnsConfig {
                // One that is no address, a scoped one for instance, does not make the others useless.
                nameservers: dns.nameservers.iter().filter_map(|text| text.parse().ok()).collect(),
                searches: dns.searches,
            }),
        }
    }
}
