//! Connected ztunnels: one task each, which sends what it is ordered to and reports the answers.

use std::time::Duration;

use ambit_net::NetNs;
use ambit_zds::{Connection, Dropped, Error, Request, Server};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::runner::Input;
use crate::state::{Event, Offered, Order, ZtunnelId};

/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Orders for one ztunnel. As many as there are pods may wait, not more than a few times.
pub(crate) type Orders = UnboundedSender<Order<NetNs>>;

/// Accepts ztunnels, forever.
pub(crate) async fn accept(mut server: Server, inputs: Sender<Input>) {
    let mut latest: ZtunnelId = 0;
    loop {
        match server.accept().await {
            Ok(connection) => {
                latest += 1;
                tokio::spawn(serve(connection, latest, inputs.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a ztunnel");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(mut connection: Connection, ztunnel: ZtunnelId, inputs: Sender<Input>) {
    match connection.hello().await {
        Ok(version) => tracing::info!(ztunnel, version, "ztunnel connected"),
        Err(error) => {
            tracing::warn!(ztunnel, %error, "a ztunnel did not introduce itself");
            return;
        }
    }
    let (orders, ordered) = unbounded_channel();
    if inputs.send(Input::Connected(ztunnel, orders)).await.is_err() {
        return;
    }
    let link = Link { ztunnel, inputs };
    let Err(error) = link.carry_out(&mut connection, ordered).await;
    tracing::info!(ztunnel, %error, "ztunnel disconnected");
    link.tell(Event::Gone(ztunnel)).await;
}

/// Where the answers of a ztunnel go.
struct Link {
    ztunnel: ZtunnelId,
    inputs: Sender<Input>,
}

// === impl Link ===

impl Link {
    /// Carries out orders until the connection is of no more use.
    async fn carry_out(
        &self,
        connection: &mut Connection,
        mut ordered: UnboundedReceiver<Order<NetNs>>,
    ) -> Result<std::convert::Infallible, Error> {
        loop {
            let order = tokio::select! {
                biased;
                error = connection.closed() => return Err(error),
                order = ordered.recv() => order.ok_or(Error::Closed)?,
            };
            self.carry_out_one(connection, order).await?;
        }
    }

    async fn carry_out_one(
        &self,
        connection: &mut Connection,
        order: Order<NetNs>,
    ) -> Result<(), Error> {
        let ztunnel = self.ztunnel;
        match order {
            Order::Offer { pod, netns, version } => {
                let uid = pod.uid.clone();
                let info = pod.info.clone();
                let request = Request::Add { uid: uid.clone(), info, netns };
                let outcome = match connection.request(&request).await {
                    Ok(dropped) => {
                        report_dropped(&uid, dropped);
                        Ok(())
                    }
                    Err(error) if error.leaves_connection_usable() => Err(error.to_string()),
                    Err(error) => return Err(error),
                };
                self.tell(Event::Offered(Offered { ztunnel, uid, version, outcome })).await;
            }
            Order::Withdraw { uid } => {
                self.send(connection, &Request::Del { uid: uid.clone() }).await?;
                self.tell(Event::Withdrawn { ztunnel, uid }).await;
            }
            Order::Keep { uid } => self.send(connection, &Request::Keep { uid }).await?,
            Order::SnapshotSent => self.send(connection, &Request::SnapshotSent).await?,
        }
        Ok(())
    }

    /// Sends what a ztunnel cannot reasonably refuse.
    async fn send(
        &self,
        connection: &mut Connection,
        request: &Request<NetNs>,
    ) -> Result<(), Error> {
        match connection.request(request).await {
            Err(error) if error.leaves_connection_usable() => {
                tracing::warn!(ztunnel = self.ztunnel, uid = request.uid(), %error, "ztunnel refuses");
                Ok(())
            }
            answer => answer.map(drop),
        }
    }

    async fn tell(&self, event: Event<NetNs>) {
        // Nobody listens any more only while the process ends.
        let _ = self.inputs.send(Input::Event(event)).await;
    }
}

fn report_dropped(uid: &str, dropped: Dropped) {
    if dropped != Dropped::default() {
        tracing::warn!(
            uid,
            searches = dropped.searches,
            nameservers = dropped.nameservers,
            "a pod's resolver configuration is too long for ztunnel and was cut"
        );
    }
}
