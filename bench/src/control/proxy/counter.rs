//! Delta xDS responses, counted as their bytes arrive: what a proxy makes of a resource is not to be measured, so a
//! large response is never held and no resource is decoded.

use std::mem;

use anyhow::{bail, ensure};
use prost::Message as _;

/// Responses of this size are held for the names in them, bytes: a change is much smaller, a whole mesh much larger.
const NAMED: usize = 1 << 20;
/// gRPC's prefix of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) type_url: String,
    pub(crate) nonce: String,
    /// How many resources it brings.
    pub(crate) resources: u64,
    /// What they are called, unless there are very many.
    pub(crate) names: Vec<String>,
}

/// Takes bytes in and hands responses out.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    step: Step,
    held: Vec<u8>,
    /// Bytes of the response behind the field that is being read.
    left: usize,
    response: Response,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default)]
enum Step {
    #[default]
    Prefix,
    /// A response that is held.
    Whole(usize),
    /// A field's number and length.
    Field,
    /// A field that is passed over.
    Skip(usize),
    /// A field with a text.
    Text(u32, usize),
}

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse`, as far as it is of interest.
#[derive(Clone, PartialEq, prost::Message)]
struct Held {
    #[prost(message, repeated, tag = "2")]
    resources: Vec<Named>,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
}

/// `envoy.service.discovery.v3.Resource`, passing over everything but its name.
#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "3")]
    name: String,
}

// === impl Step ===

impl Step {
    /// Whether what comes next is empty.
    fn needs_nothing(self) -> bool {
        matches!(self, Self::Whole(0) | Self::Skip(0) | Self::Text(_, 0))
    }
}

// === impl Counter ===

impl Counter {
    /// Takes in what has arrived; `done` gets each response that is complete.
    ///
    /// # Errors
    /// It is no response.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut done: impl FnMut(Response),
    ) -> anyhow::Result<()> {
        while !bytes.is_empty() || self.step.needs_nothing() {
            self.step = match self.step {
                Step::Prefix => match self.hold(&mut bytes, PREFIX) {
                    Some(prefix) => self.begin(&prefix)?,
                    None => return Ok(()),
                },
                Step::Whole(length) => match self.hold(&mut bytes, length) {
                    Some(whole) => {
                        done(whole_response(&whole)?);
                        Step::Prefix
                    }
                    None => return Ok(()),
                },
                Step::Field => self.field(&mut bytes)?,
                Step::Skip(length) => {
                    let taken = length.min(bytes.len());
                    bytes = bytes.get(taken..).unwrap_or_default();
                    if taken == length { self.next(&mut done) } else { Step::Skip(length - taken) }
                }
                Step::Text(number, length) => match self.hold(&mut bytes, length) {
                    Some(text) => {
                        self.text(number, text)?;
                        self.next(&mut done)
                    }
                    None => return Ok(()),
                },
            };
        }
        Ok(())
    }

    fn begin(&mut self, prefix: &[u8]) -> anyhow::Result<Step> {
        let &[0, a, b, c, d] = prefix else { bail!("the response is compressed") };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length <= NAMED {
            return Ok(Step::Whole(length));
        }
        self.left = length;
        Ok(Step::Field)
    }

    /// Reads a field's number and length, which may arrive in pieces.
    fn field(&mut self, bytes: &mut &[u8]) -> anyhow::Result<Step> {
        while let Some((first, rest)) = bytes.split_first() {
            self.held.push(*first);
            *bytes = rest;
            let Some((number, length)) = header(&self.held) else {
                ensure!(self.held.len() < 16, "the response is malformed");
                continue;
            };
            let taken = mem::take(&mut self.held).len() + length;
            ensure!(taken <= self.left, "a field is longer than its response");
            self.left -= taken;
            self.response.resources += u64::from(number == 2);
            return Ok(match number {
                4 | 5 => Step::Text(number, length),
                _ => Step::Skip(length),
            });
        }
        Ok(Step::Field)
    }

    fn text(&mut self, number: u32, text: Vec<u8>) -> anyhow::Result<()> {
        let text = String::from_utf8(text)?;
        if number == 4 {
            self.response.type_url = text;
        } else {
            self.response.nonce = text;
        }
        Ok(())
    }

    fn next(&mut self, done: &mut impl FnMut(Response)) -> Step {
        if self.left > 0 {
            return Step::Field;
        }
        done(mem::take(&mut self.response));
        Step::Prefix
    }

    /// `length` bytes, once they are all there.
    fn hold(&mut self, bytes: &mut &[u8], length: usize) -> Option<Vec<u8>> {
        let taken = (length - self.held.len()).min(bytes.len());
        let (now, later) = bytes.split_at(taken);
        self.held.extend_from_slice(now);
        *bytes = later;
        (self.held.len() == length).then(|| mem::take(&mut self.held))
    }
}

fn whole_response(bytes: &[u8]) -> anyhow::Result<Response> {
    let Held { resources, type_url, nonce } = Held::decode(bytes)?;
    let names: Vec<String> = resources.into_iter().map(|resource| resource.name).collect();
    Ok(Response { type_url, nonce, resources: names.len() as u64, names })
}

/// The number and the length of a field, if all of both is there. Every field of a response has a length.
fn header(mut bytes: &[u8]) -> Option<(u32, usize)> {
    let key = prost::encoding::decode_varint(&mut bytes).ok()?;
    let length = prost::encoding::decode_varint(&mut bytes).ok()?;
    Some((u32::try_from(key >> 3).ok()?, usize::try_from(length).ok()?))
}

#[cfg(test)]
mod tests {
    use ambit_proto::discovery::{DeltaDiscoveryResponse, Resource};
    use prost_types::Any;

    use super::*;

    fn message(count: usize) -> Vec<u8> {
        let body = vec![7; 200];
        let resource = |i| Resource {
            name: format!("pod-{i}"),
            version: "v".to_owned(),
            resource: Some(Any { type_url: "t".to_owned(), value: body.clone() }),
            aliases: Vec::new(),
        };
        let response = DeltaDiscoveryResponse {
            type_url: "addresses".to_owned(),
            nonce: format!("n-{count}"),
            removed_resources: vec!["gone".to_owned()],
            resources: (0..count).map(resource).collect(),
            ..DeltaDiscoveryResponse::default()
        };
        let body = response.encode_to_vec();
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn responses_are_counted_in_whatever_pieces_they_arrive() {
        let counts = [2, 9_000, 0, 1];
        let bytes: Vec<u8> = counts.into_iter().flat_map(message).collect();
        for piece in [1, 3, 16_384, bytes.len()] {
            let (mut counter, mut responses) = (Counter::default(), Vec::new());
            for chunk in bytes.chunks(piece) {
                counter.feed(chunk, |response| responses.push(response)).unwrap();
            }
            let counted: Vec<u64> = responses.iter().map(|r| r.resources).collect();
            assert_eq!(counted, [2, 9_000, 0, 1], "in pieces of {piece}");
            assert!(responses.iter().all(|r| r.type_url == "addresses"));
            assert_eq!(responses[1].nonce, "n-9000");
            assert_eq!(responses[0].names, ["pod-0", "pod-1"]);
            assert!(responses[1].names.is_empty(), "too many to be held");
        }
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        for bytes in [
            &[1, 0, 0, 0, 0, 0][..],
            &[
                0, 255, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                255, 255, 255, 255,
            ],
            &[0, 0, 0, 0, 2, 18, 9],
        ] {
            let fed = Counter::default().feed(bytes, |response| panic!("{response:?}"));
            assert!(fed.is_err());
        }
    }
}
