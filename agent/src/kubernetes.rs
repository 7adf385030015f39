//! Kubernetes as the source of pods: watches this node's pods and all namespaces, and joins and lets go of pods.
//!
//! `book` and `membership` decide, without IO; a `worker` for each pod has it carried out by `hands`. New pods are
//! captured before they start when the CNI plugin asks (`plugin`); pods that run already are found by `processes`.

pub(crate) mod book;
pub(crate) mod hands;
pub(crate) mod membership;
pub(crate) mod plugin;
pub(crate) mod processes;
pub(crate) mod resolver;
pub(crate) mod start;
pub(crate) mod view;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use ambit_lifecycle::ReadyTask;
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt, watcher::Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

use book::{Book, Want};
use hands::Hands;
use view::{MODE_LABEL, PodView};

/// What is known of pods and namespaces, for whoever asks in between.
#[derive(Clone, Debug)]
pub(crate) struct Known(Arc<Mutex<Book>>);

/// Watches, and sets workers to work.
#[derive(Debug)]
pub(crate) struct Source {
    known: Known,
    hands: Arc<Hands>,
    /// What each worker was told last.
    told: BTreeMap<String, Want>,
    workers: HashMap<String, watch::Sender<Want>>,
    /// The namespaces with pods in the mesh, for the CNI plugin; `None` until they are known.
    namespaces: watch::Sender<Option<Vec<String>>>,
    /// Held until all pods and namespaces are known.
    starting: Option<ReadyTask>,
}

/// One event of either watch.
enum Seen {
    Pod(Box<Result<Event<Pod>, watcher::Error>>),
    Namespace(Box<Result<Event<PartialObjectMeta<Namespace>>, watcher::Error>>),
}

// === impl Known ===

impl Known {
    /// Starts with `book`.
    pub(crate) fn new(book: Book) -> Self {
        Self(Arc::new(Mutex::new(book)))
    }

    /// Looks into the book.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Source ===

impl Source {
    /// Pods are handled by `hands`; `namespaces` is told which ones have pods in the mesh, once all are known, when
    /// `starting` is done too.
    pub(crate) fn new(
        known: Known,
        hands: Arc<Hands>,
        namespaces: watch::Sender<Option<Vec<String>>>,
        starting: ReadyTask,
    ) -> Self {
        let (told, workers) = (BTreeMap::new(), HashMap::new());
        Self { known, hands, told, workers, namespaces, starting: Some(starting) }
    }

    /// Follows the API server for ever. While it is away, what was known last stays in force.
    pub(crate) async fn run(mut self, client: Client, node: &str) {
        let mut seen = pin!(watch_all(client, node));
        let mut reachable = true;
        while let Some(seen) = seen.next().await {
            let problem = self.take_in(seen);
            match &problem {
                Some(error) if reachable => tracing::warn!(
                    error = crate::describe(error),
                    "the API server cannot be followed: going on with what is known, trying again"
                ),
                None if !reachable => tracing::info!("the API server is followed again"),
                _ => {}
            }
            reachable = problem.is_none();
            self.set_to_work();
        }
    }

    fn take_in(&self, seen: Seen) -> Option<watcher::Error> {
        match seen {
            Seen::Pod(event) => match *event {
                Ok(event) => self.known.with(|book| {
                    book.pods_mut().take_in(event, |pod| {
                        let view = PodView::of(pod)?;
                        Some((view.uid.clone(), Some(Arc::new(view))))
                    });
                }),
                Err(error) => return Some(error),
            },
            Seen::Namespace(event) => match *event {
                Ok(event) => self.known.with(|book| {
                    book.namespaces_mut().take_in(event, |namespace| {
                        Some((namespace.name_any(), namespace.labels().get(MODE_LABEL).cloned()))
                    });
                }),
                Err(error) => return Some(error),
            },
        }
        None
    }

    /// Tells workers what has changed.
    fn set_to_work(&mut self) {
        let Some((wants, names)) = self
            .known
            .with(|book| book.is_complete().then(|| (book.wants(), book.mesh_namespaces())))
        else {
            return;
        };
        let names = Some(names);
        self.namespaces.send_if_modified(|before| {
            let is_new = *before != names;
            *before = names;
            is_new
        });
        self.workers.retain(|_, worker| !worker.is_closed());
        let lost = self.told.keys().chain(self.workers.keys()).cloned();
        let lost: Vec<String> = lost.chain(self.hands.places.uids()).collect();
        for uid in lost.into_iter().filter(|uid| !wants.contains_key(uid)) {
            self.tell(&uid, Want::Gone);
        }
        for (uid, want) in &wants {
            if self.told.get(uid) != Some(want) {
                self.tell(uid, want.clone());
            }
        }
        self.told = wants;
        if let Some(starting) = self.starting.take() {
            starting.done();
        }
    }

    fn tell(&mut self, uid: &str, want: Want) {
        if let Some(worker) = self.workers.get(uid) {
            worker.send_if_modified(|before| {
                let is_new = *before != want;
                *before = want;
                is_new
            });
            return;
        }
        let has_to_do = match &want {
            Want::Join(_) => true,
            Want::Leave(pod) => pod.redirection.is_some() || self.hands.places.knows(uid),
            Want::Gone => self.hands.places.knows(uid),
        };
        if has_to_do {
            let (worker, wants) = watch::channel(want);
            tokio::spawn(worker::follow(uid.to_owned(), wants, self.hands.clone()));
            self.workers.insert(uid.to_owned(), worker);
        }
    }
}

fn watch_all(client: Client, node: &str) -> impl Stream<Item = Seen> + use<> {
    let here = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let pods = watcher(Api::<Pod>::all(client.clone()), here)
        .default_backoff()
        .map(|event| Seen::Pod(Box::new(event)));
    let namespaces =
        watcher(Api::<PartialObjectMeta<Namespace>>::all(client), watcher::Config::default())
            .default_backoff()
            .map(|event| Seen::Namespace(Box::new(event)));
    futures_util::stream::select(pods.boxed(), namespaces.boxed())
}
