//! Connections that stop being HTTP: both sides' bytes are passed on.

use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::connection::Connection;
use crate::destination::Active;

/// Joins the client's connection with the endpoint's, if the response says that they change over.
pub(super) fn join(
    connection: &Connection,
    client: Option<OnUpgrade>,
    response: &mut Response<Incoming>,
    active: Active,
) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let Some(client) = client else { return };
    let endpoint = hyper::upgrade::on(response);
    let ended = connection.drain.ended.clone();
    let peer = connection.peer;
    connection.drain.tasks.spawn(async move {
        let _active = active;
        let passing = async {
            let (client, endpoint) = tokio::try_join!(client, endpoint)?;
            let (mut client, mut endpoint) = (TokioIo::new(client), TokioIo::new(endpoint));
            copy_bidirectional(&mut client, &mut endpoint).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        if let Some(Err(error)) = ended.run_until_cancelled(passing).await {
            tracing::debug!(%peer, %error, "upgraded connection ended");
        }
    });
}
