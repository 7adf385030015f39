//! One kind: listed, watched, and listed anew when the watch is lost.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;

use super::known::{Event, Read};
use super::raw::{Raw, resource};
use super::{Backoff, Pace, SourceErrors, Trouble};
use crate::watch::Kind;

/// Objects in one answer to a list: enough to be quick, few enough that large objects do not add up.
const PAGE: u32 = 250;
/// A watch that has not failed for so long is up again: longer than the client takes to give up on a connection.
const QUIET: Duration = Duration::from_secs(15);

/// Follows one kind.
pub(super) struct Lister {
    pub(super) client: Client,
    pub(super) kind: Kind,
    pub(super) pace: Pace,
    pub(super) errors: SourceErrors,
    pub(super) events: mpsc::Sender<Event>,
}

/// Why a version of the kind is no longer followed.
enum End {
    /// The cluster does not serve it.
    Missing,
    /// Nobody listens any more.
    Closed,
}

// === impl Lister ===

impl Lister {
    /// Follows the kind in the best version that the cluster serves, until nobody listens.
    pub(super) async fn follow(self) {
        loop {
            for version in self.kind.versions() {
                match self.follow_version(version).await {
                    End::Missing => {}
                    End::Closed => return,
                }
            }
            if self.send(self.troubled(Trouble::Missing)).await.is_err() {
                return;
            }
            tokio::time::sleep(self.pace.absent).await;
        }
    }

    async fn follow_version(&self, version: &str) -> End {
        let api: Api<Raw> = Api::all_with(self.client.clone(), &resource(self.kind, version));
        let mut config = watcher::Config::default().page_size(PAGE);
        config.field_selector = self.kind.selected().map(str::to_owned);
        let mut stream = pin!(watcher(api, config));
        let mut backoff = Backoff::new(self.pace);
        let mut listing = Vec::new();
        let mut troubled = false;
        loop {
            let patience = if troubled { QUIET } else { Duration::MAX };
            let event = match tokio::time::timeout(patience, stream.next()).await {
                Ok(None) => return End::Closed,
                Ok(Some(Err(error))) => match self.failed(error.into(), &mut backoff).await {
                    Ok(reported) => {
                        troubled |= reported;
                        continue;
                    }
                    Err(end) => return end,
                },
                Ok(Some(Ok(event))) => self.read(event, &mut listing),
                Err(_) => Some(Event::Recovered(self.kind)),
            };
            let Some(event) = event else { continue };
            backoff.succeeded();
            let recovered = std::mem::take(&mut troubled).then_some(Event::Recovered(self.kind));
            for event in [Some(event), recovered].into_iter().flatten() {
                if self.send(event).await.is_err() {
                    return End::Closed;
                }
            }
        }
    }

    /// What an event of the watch means. What a list consists of is gathered in `listing` until it is complete.
    fn read(&self, event: watcher::Event<Raw>, listing: &mut Vec<Read>) -> Option<Event> {
        match event {
            watcher::Event::Init => listing.clear(),
            watcher::Event::InitApply(raw) => listing.push(raw.trim(self.kind)),
            watcher::Event::InitDone => {
                return Some(Event::Listed(self.kind, std::mem::take(listing)));
            }
            watcher::Event::Apply(raw) => return Some(Event::Applied(raw.trim(self.kind))),
            watcher::Event::Delete(raw) => return Some(Event::Gone(raw.key(self.kind))),
        }
        None
    }

    /// Reports a failure, unless it is part of the ordinary course, and waits before the next try. Tells whether it was
    /// reported.
    async fn failed(&self, trouble: Trouble, backoff: &mut Backoff) -> Result<bool, End> {
        self.errors.count(self.kind, &trouble);
        let pause = match trouble {
            Trouble::Missing => return Err(End::Missing),
            Trouble::Expired => {
                tracing::debug!(kind = self.kind.as_str(), "the watch has expired; listing anew");
                tokio::time::sleep(backoff.failed()).await;
                return Ok(false);
            }
            Trouble::Forbidden => self.pace.absent,
            Trouble::Unreachable(_) => backoff.failed(),
        };
        self.send(self.troubled(trouble)).await.map_err(|_| End::Closed)?;
        tokio::time::sleep(pause).await;
        Ok(true)
    }

    fn troubled(&self, trouble: Trouble) -> Event {
        Event::Troubled(self.kind, trouble)
    }

    async fn send(&self, event: Event) -> Result<(), mpsc::error::SendError<Event>> {
        self.events.send(event).await
    }
}
