//! A resource as it goes over the wire, encoded once for all subscribers.

use ambit_model::Str;
use ambit_proto::discovery as proto;
use ambit_xds::ResourceType;
use ambit_xds::encode::Encoded;
use bytes::Bytes;
use prost::Message as _;

/// An encoded resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: Str,
    /// The node of the pod whose workload it is; empty for everything else.
    pub node: Str,
    /// The Gateway, `namespace/name`, whose proxies alone are told; empty for what everybody may know.
    pub scope: Str,
    /// The hash of its content.
    pub version: u64,
    /// The resource as an element of `DeltaDiscoveryResponse.resources`, with its field number and length.
    pub wire: Bytes,
}

// === impl Resource ===

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, self.version) == (other.kind, other.version) && self.name == other.name
    }
}

impl Resource {
    /// The version as it is written on the wire.
    pub fn version_text(&self) -> String {
        format!("{:016x}", self.version)
    }
}

impl From<Encoded> for Resource {
    fn from(encoded: Encoded) -> Self {
        let resource = proto::Resource {
            version: encoded.version_text(),
            name: encoded.name.to_string(),
            aliases: Vec::new(),
            resource: Some(prost_types::Any {
                type_url: encoded.kind.url().to_owned(),
                value: encoded.body.to_vec(),
            }),
        };
        let alone =
            proto::DeltaDiscoveryResponse { resources: vec![resource], ..Default::default() };
        Self {
            kind: encoded.kind,
            name: encoded.name,
            node: Str::default(),
            scope: Str::default(),
            version: encoded.version,
            wire: alone.encode_to_vec().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_an_element_of_a_response() {
        let workload = ambit_model::Workload { uid: "c//Pod/a/b".into(), ..Default::default() };
        let encoded = Encoded::workload(&workload);
        let resource = Resource::from(encoded.clone());
        let twice = [resource.wire.clone(), resource.wire.clone()].concat();
        let response = proto::DeltaDiscoveryResponse::decode(&twice[..]).unwrap();
        assert_eq!(response.resources.len(), 2);
        let element = &response.resources[1];
        assert_eq!(element.name, "c//Pod/a/b");
        assert_eq!(element.version, encoded.version_text());
        assert_eq!(element.resource.as_ref().unwrap().value, encoded.body);
    }
}
