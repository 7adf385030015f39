//! Pods that call a server all the time and count what becomes of it.

use ambit_tests::eventually_within;
use serde::Deserialize;

use super::kubectl::{PATIENCE, apply, done};
use super::shop::Shop;

/// A pod that calls.
pub(super) struct Load<'a> {
    shop: &'a Shop,
    pod: &'a str,
}

/// What it has counted.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Counts {
    /// Calls that were answered.
    pub(super) answered: u64,
    /// Calls that were not.
    pub(super) failed: u64,
    /// Calls that were made once more, over a new connection.
    pub(super) repeated: u64,
    /// Connections of TCP that are open.
    pub(super) open: u64,
}

// === impl Load ===

impl<'a> Load<'a> {
    /// Starts calling: `arguments` are those of `echo load`. The pod has a policy, an identity and labels as any other.
    pub(super) async fn start(shop: &'a Shop, pod: &'a str, node: &str, arguments: &str) -> Self {
        apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, namespace: {}}}\n\
             spec:\n  nodeName: {node}\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
             - {{name: c, image: 'ambit.test/echo:1', imagePullPolicy: IfNotPresent, args: [load, {}]}}\n",
            shop.0,
            arguments.split(' ').map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ")
        ))
        .await;
        let load = Self { shop, pod };
        load.goes_on(50).await;
        load
    }

    /// What it has counted by now.
    pub(super) async fn counts(&self) -> Counts {
        let printed = done(&format!("logs -n {} {} --tail=400", self.shop.0, self.pod)).await;
        let last = printed.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        last.unwrap_or(Counts { answered: 0, failed: 0, repeated: 0, open: 0 })
    }

    /// Waits until it has counted what `is` wanted.
    pub(super) async fn until(&self, what: &str, is: impl Fn(Counts) -> bool) -> Counts {
        done(&format!(
            "wait --for=condition=Ready -n {} pod/{} --timeout=60s",
            self.shop.0, self.pod
        ))
        .await;
        eventually_within(PATIENCE, || async {
            let counts = self.counts().await;
            if is(counts) { Ok(counts) } else { Err(format!("{what}: {counts:?}")) }
        })
        .await
    }

    /// Waits until so many more calls have been answered.
    pub(super) async fn goes_on(&self, more: u64) -> Counts {
        let before = self.counts_if_ready().await;
        self.until("it goes on", |counts| counts.answered >= before + more).await
    }

    /// Waits until a second's worth of calls has been answered and none has failed meanwhile.
    pub(super) async fn recovers(&self) -> Counts {
        eventually_within(PATIENCE, || async {
            let before = self.counts().await;
            let after =
                self.until("it goes on", |counts| counts.answered >= before.answered + 100).await;
            if after.failed == before.failed {
                Ok(after)
            } else {
                Err(format!("{before:?} {after:?}"))
            }
        })
        .await
    }

    /// Says what has been counted, and that nothing failed.
    pub(super) async fn nothing_failed(&self, what: &str) -> Counts {
        let counts = self.counts().await;
        let Counts { answered, repeated, .. } = counts;
        println!(
            "{what}: {answered} calls were answered, {repeated} of them at the second attempt"
        );
        assert_eq!(counts.failed, 0, "{what}:\n{}", self.failures().await);
        counts
    }

    /// What it said of calls that failed.
    pub(super) async fn failures(&self) -> String {
        let printed = done(&format!("logs -n {} {}", self.shop.0, self.pod)).await;
        printed
            .lines()
            .filter(|line| !line.starts_with('{'))
            .take(20)
            .collect::<Vec<_>>()
            .join("\n")
    }

    async fn counts_if_ready(&self) -> u64 {
        done(&format!(
            "wait --for=condition=Ready -n {} pod/{} --timeout=60s",
            self.shop.0, self.pod
        ))
        .await;
        self.counts().await.answered
    }
}
