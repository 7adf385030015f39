//! Client connections by key: one handshake at a time for each, shared by everybody who waits for it.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{Authority, Client, Config, ConnectHeaders, Error, Response, Stream};

/// How often a CONNECT that the peer did not look at is made on a new connection.
const ATTEMPTS: usize = 3;

/// Connections by key. Cheap to clone; clones share the connections. One pool serves one worker.
pub struct Pool<K, E>(Arc<Inner<K, E>>);

struct Inner<K, E> {
    entries: Mutex<HashMap<K, Entry<E>>>,
    config: Config,
}

struct Entry<E> {
    clients: Vec<Client>,
    dialing: Option<Dialing<E>>,
}

/// Becomes `Some` when the handshake in progress has ended.
type Dialing<E> = watch::Receiver<Option<Result<(), Arc<E>>>>;

/// A place for one stream on a connection, given back when dropped.
pub struct Slot(Client);

/// Why no tunnel was opened.
#[derive(Debug)]
pub enum PoolError<E> {
    /// No connection could be made; shared by everybody who waited for it.
    Dial(Arc<E>),
    /// The connection was there and the CONNECT failed.
    Tunnel(Error),
}

enum Next<E> {
    Ready(Slot),
    /// A connection was just made, and its peer has not said yet for how many it has room.
    Opening(Client),
    Wait(Dialing<E>),
    Dial(watch::Sender<Option<Result<(), Arc<E>>>>),
}

// === impl Pool ===

impl<K, E> Pool<K, E>
where
    K: Clone + Eq + Hash + Send + 'static,
    E: Send + Sync + 'static,
{
    /// An empty pool.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Inner { entries: Mutex::default(), config }))
    }

    /// The HTTP/2 parameters for connections of this pool.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Opens a tunnel to `authority` on a connection for `key`; `dial` makes one where there is none with room.
    ///
    /// # Errors
    /// The dial failed, or the peer refused the CONNECT.
    pub async fn connect<F>(
        &self,
        key: &K,
        dial: impl Fn() -> F,
        authority: &Authority,
        headers: ConnectHeaders,
    ) -> Result<(Stream, Response), PoolError<E>>
    where
        F: Future<Output = Result<Client, E>> + Send + 'static,
    {
        let mut attempt = 1;
        loop {
            let slot = self.slot(key, &dial).await?;
            match slot.connect(authority, headers.clone()).await {
                Err(error) if error.is_retryable() && attempt < ATTEMPTS => attempt += 1,
                result => return result.map_err(PoolError::Tunnel),
            }
        }
    }

    /// Drops every connection for which `gone` holds from the pool; its open streams go on.
    pub fn retire(&self, gone: impl Fn(&K) -> bool) {
        self.0.entries.lock().retain(|key, entry| {
            let retire = gone(key);
            if retire {
                entry.clients.iter().for_each(|client| client.shared.retire());
            }
            !retire
        });
    }

    /// How many connections are kept.
    pub fn len(&self) -> usize {
        self.0.entries.lock().values().map(|entry| entry.clients.len()).sum()
    }

    /// Whether no connection is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    async fn slot<F>(&self, key: &K, dial: &impl Fn() -> F) -> Result<Slot, PoolError<E>>
    where
        F: Future<Output = Result<Client, E>> + Send + 'static,
    {
        let mut dials = 0;
        loop {
            let mut dialing = match self.next(key) {
                Next::Ready(slot) => return Ok(slot),
                Next::Opening(client) => {
                    client.opened().await;
                    continue;
                }
                Next::Wait(dialing) => dialing,
                // The peer sends every connection away as soon as it is made.
                Next::Dial(_) if dials == ATTEMPTS => return Err(PoolError::Tunnel(Error::Closed)),
                Next::Dial(done) => {
                    dials += 1;
                    let dialing = done.subscribe();
                    // A task of its own: others wait for it even if this caller gives up.
                    tokio::spawn(self.clone().dial(key.clone(), Box::pin(dial()), done));
                    dialing
                }
            };
            // An error here means that the dialing task is gone without a word: look again.
            if let Ok(ended) = dialing.wait_for(Option::is_some).await
                && let Some(Err(error)) = &*ended
            {
                return Err(PoolError::Dial(error.clone()));
            }
        }
    }

    fn next(&self, key: &K) -> Next<E> {
        let mut entries = self.0.entries.lock();
        let entry = match entries.get_mut(key) {
            Some(entry) => entry,
            None => entries.entry(key.clone()).or_default(),
        };
        let opening = entry.clients.iter().find(|client| client.is_opening()).cloned();
        if let Some(slot) = entry.clients.iter().find_map(Client::reserve) {
            return Next::Ready(slot);
        }
        if let Some(client) = opening {
            return Next::Opening(client);
        }
        match &entry.dialing {
            Some(dialing) if dialing.has_changed().is_ok() => Next::Wait(dialing.clone()),
            _ => {
                let (done, dialing) = watch::channel(None);
                entry.dialing = Some(dialing);
                Next::Dial(done)
            }
        }
    }

    async fn dial(
        self,
        key: K,
        dial: impl Future<Output = Result<Client, E>>,
        done: watch::Sender<Option<Result<(), Arc<E>>>>,
    ) {
        let dialed = dial.await;
        let client = dialed.as_ref().ok().cloned();
        {
            let mut entries = self.0.entries.lock();
            if let Some(entry) = entries.get_mut(&key) {
                entry.dialing = None;
                entry.clients.extend(client.clone());
            }
            Self::drop_empty(&mut entries, &key);
        }
        done.send_replace(Some(dialed.map(drop).map_err(Arc::new)));
        drop(done);
        if let Some(client) = client {
            client.retired().await;
            self.forget(&key, &client);
        }
    }

    fn forget(&self, key: &K, client: &Client) {
        let mut entries = self.0.entries.lock();
        if let Some(entry) = entries.get_mut(key) {
            entry.clients.retain(|other| !Arc::ptr_eq(&other.shared, &client.shared));
        }
        Self::drop_empty(&mut entries, key);
    }

    fn drop_empty(entries: &mut HashMap<K, Entry<E>>, key: &K) {
        if entries.get(key).is_some_and(|e| e.clients.is_empty() && e.dialing.is_none()) {
            entries.remove(key);
        }
    }
}

impl<K, E> Clone for Pool<K, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> Default for Entry<E> {
    fn default() -> Self {
        Self { clients: Vec::new(), dialing: None }
    }
}

// === impl Slot ===

impl Slot {
    pub(crate) fn new(client: Client) -> Option<Self> {
        let allowed = client.allowed_streams();
        client.shared.try_reserve(allowed).then(|| Self(client))
    }

    /// Opens a tunnel in this place.
    ///
    /// # Errors
    /// The connection failed, or the peer answered something other than 200.
    pub async fn connect(
        self,
        authority: &Authority,
        headers: ConnectHeaders,
    ) -> Result<(Stream, Response), Error> {
        let opened = self.0.open(authority, headers).await;
        if opened.as_ref().is_err_and(Error::is_retryable) {
            self.0.shared.retire();
        }
        let (response, send) = opened?;
        let (head, recv) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(Error::Status(head.status));
        }
        let pressure = self.0.shared.pressure.clone();
        Ok((Stream::new(send, recv, Some(self), pressure), Response { headers: head.headers }))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.shared.release();
    }
}

// === impl PoolError ===

impl<E: fmt::Display> fmt::Display for PoolError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::Tunnel(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for PoolError<E> {}
