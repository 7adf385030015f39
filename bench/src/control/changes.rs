//! Changes of pods, and how long each takes until the last proxy has it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::ledger::Ledger;
use super::shape::Shape;
use super::world::World;

/// How long changes may take to be everywhere after the last of them.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which changes are made, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) count: u32,
    /// Between two changes; none in a burst.
    pub(crate) interval: Duration,
}

/// How long changes took, seconds, shortest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Took {
    /// Since the API server had accepted each.
    pub(crate) accepted: Vec<f64>,
    /// Since each was sent to it.
    pub(crate) sent: Vec<f64>,
}

/// Pods in turn, each changed as late as possible again.
#[derive(Debug)]
pub(crate) struct Changes {
    shape: Shape,
    run: u64,
    made: u32,
}

// === impl Changes ===

impl Changes {
    /// `run` tells the changes of this run from those of others.
    pub(crate) fn new(shape: Shape, run: u64) -> Self {
        Self { shape, run, made: 0 }
    }

    /// Makes the changes whether or not those before have arrived, and waits for all.
    ///
    /// # Errors
    /// A change is refused, a proxy has failed, or it takes too long.
    pub(crate) async fn make(
        &mut self,
        load: Load,
        world: &World,
        ledger: &Ledger,
    ) -> anyhow::Result<Took> {
        let began = Instant::now();
        let changes = (0..load.count).map(|i| {
            let at = began + load.interval * i;
            let revision = format!("r{:x}-{}", self.run, self.made);
            let pod = self.made % self.shape.pods;
            let name = self.shape.pod(pod).resource();
            self.made += 1;
            async move {
                tokio::time::sleep_until(at.into()).await;
                ledger.expect(name.clone());
                let sent = Instant::now();
                world.change(pod, &revision).await?;
                anyhow::Ok((name, (sent, Instant::now())))
            }
        });
        let made: HashMap<_, _> = try_join_all(changes).await?.into_iter().collect();
        let arrived = ledger.all_acked(PATIENCE).await?;
        let mut took = Took::default();
        for (name, (sent, accepted)) in made {
            let Some(last) = arrived.get(&name) else { continue };
            took.sent.push(last.saturating_duration_since(sent).as_secs_f64());
            took.accepted.push(last.saturating_duration_since(accepted).as_secs_f64());
        }
        took.sent.sort_by(f64::total_cmp);
        took.accepted.sort_by(f64::total_cmp);
        Ok(took)
    }
}
