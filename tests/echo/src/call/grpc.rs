//! gRPC calls.

use anyhow::{Context, Result};
use tonic::Request;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::proto::EchoRequest;
use crate::proto::echo_client::EchoClient;

use super::{Target, same};

/// A channel.
pub(crate) struct Session(EchoClient<Channel>);

pub(super) async fn open(target: &Target) -> Result<Session> {
    let endpoint = Endpoint::from_shared(format!("http://{}", target.authority))?;
    Ok(Session(EchoClient::new(endpoint.connect().await.context("connecting")?)))
}

impl Session {
    /// What the server saw.
    pub(super) async fn call(&mut self, target: &Target) -> Result<String> {
        let message = target.data.clone().unwrap_or_default();
        let mut request = Request::new(EchoRequest { message: message.clone() });
        for (name, value) in &target.headers {
            let name: AsciiMetadataKey = name.parse()?;
            let value: AsciiMetadataValue = value.parse()?;
            request.metadata_mut().append(name, value);
        }
        let reply = self.0.say(request).await?.into_inner();
        same(&message, &reply.message)?;
        Ok(reply.seen)
    }
}
