//! The client: one stream after another, for as long as it is polled.

use std::convert::Infallible;

use ambit_proto::discovery::DeltaDiscoveryRequest;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tracing::{debug, info, warn};

use crate::backoff::{Backoff, End};
use crate::session::Session;
use crate::transport::{self, Messages};
use crate::wire::Response;
use crate::{Config, Event, Held, Metrics, Rejected};

/// A delta xDS client with wildcard subscriptions to the types of its [`Config`].
#[derive(Debug)]
pub struct Client {
    config: Config,
    metrics: Metrics,
    session: Session,
}

/// How one connection went.
struct Ended {
    how: End,
    /// Whether it brought a response.
    useful: bool,
}

// === impl Client ===

impl Client {
    /// A client that knows nothing yet.
    pub fn new(config: Config, metrics: Metrics) -> Self {
        Self::resuming(config, metrics, Held::default())
    }

    /// A client whose owner already has the resources that `held` names, e.g. kept from before a restart. The control
    /// plane then sends only what differs, and the names of those that are gone.
    pub fn resuming(config: Config, metrics: Metrics, held: Held) -> Self {
        let session = Session::new(&config, held);
        Self { config, metrics, session }
    }

    /// Keeps a stream to the control plane open, reconnecting for ever, and calls `apply` with everything that comes
    /// of it. A response is acknowledged after `apply` has returned; what `apply` names is refused. Drop the future to
    /// stop.
    pub async fn run(
        mut self,
        mut apply: impl FnMut(Event<'_>) -> Vec<Rejected> + Send,
    ) -> Infallible {
        let mut backoff = Backoff::new();
        loop {
            let ended = self.connection(&mut apply).await;
            self.metrics.terminated(ended.how);
            let delay = backoff.after(ended.how, ended.useful);
            debug!(reason = ended.how.reason(), ?delay, "xDS connection ended");
            // Jitter keeps the node proxies of a cluster from coming back all at once.
            tokio::time::sleep(delay.mul_f64(rand::random_range(0.8..=1.2))).await;
        }
    }

    async fn connection(
        &mut self,
        apply: &mut (impl FnMut(Event<'_>) -> Vec<Rejected> + Send),
    ) -> Ended {
        let (requests, outgoing) = mpsc::unbounded_channel();
        for request in self.session.connect() {
            // The receiver lives until this function returns, or the stream ends and says so.
            let _ = requests.send(request);
        }
        match transport::open(&self.config, UnboundedReceiverStream::new(outgoing)).await {
            Ok(responses) => {
                info!(address = %self.config.address, "connected to the control plane");
                self.stream(responses, &requests, apply).await
            }
            Err(error) => {
                warn!(%error, "no stream to the control plane; trying again");
                Ended { how: End::ConnectionError, useful: false }
            }
        }
    }

    async fn stream(
        &mut self,
        mut responses: Messages,
        requests: &mpsc::UnboundedSender<DeltaDiscoveryRequest>,
        apply: &mut (impl FnMut(Event<'_>) -> Vec<Rejected> + Send),
    ) -> Ended {
        let mut useful = false;
        loop {
            match responses.next().await {
                Ok(Some(response)) => {
                    useful = true;
                    let answer = self.response(response, apply);
                    if requests.send(answer).is_err() {
                        // The sending half is gone; the receiving half is about to tell why.
                        debug!("the stream to the control plane takes no more requests");
                    }
                }
                Ok(None) => {
                    return Ended { how: End::Complete, useful };
                }
                Err(status) => {
                    let how = End::of(&status);
                    warn!(code = ?status.code(), message = status.message(), "xDS stream failed");
                    return Ended { how, useful };
                }
            }
        }
    }

    fn response(
        &mut self,
        response: Response,
        apply: &mut (impl FnMut(Event<'_>) -> Vec<Rejected> + Send),
    ) -> DeltaDiscoveryRequest {
        let (bytes, resources) = (response.encoded_len(), response.resources.len());
        let outcome = self.session.response(response, apply);
        let Some(kind) = outcome.kind else {
            let url = &outcome.answer.type_url;
            warn!(url, "response of a type that was not asked for");
            return outcome.answer;
        };
        debug!(url = kind.url(), bytes, resources, "response");
        self.metrics.message(kind.url(), bytes, outcome.rejected.len());
        for rejected in &outcome.rejected {
            warn!(name = %rejected.name, reason = rejected.reason, "refused a resource");
        }
        outcome.answer
    }
}
