//! Makes the objects, many at a time.

use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use crate::control::api::Api;
use crate::control::objects::{self, Entry};
use crate::control::shape::Shape;

/// Requests under way.
const AT_ONCE: usize = 128;

/// Makes every object of the mesh.
///
/// # Errors
/// The API server refuses one.
pub(super) async fn fill(api: &Api, shape: Shape) -> anyhow::Result<()> {
    let started = Instant::now();
    for entries in objects::foundations(shape) {
        all(api, entries.into_iter()).await?;
    }
    all(api, objects::services(shape)).await?;
    all(api, objects::pods(shape)).await?;
    eprintln!("filled the cluster in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

async fn all(api: &Api, entries: impl Iterator<Item = Entry>) -> anyhow::Result<()> {
    let made = stream::iter(entries).map(|entry| make(api, entry)).buffer_unordered(AT_ONCE);
    made.try_collect().await
}

/// The API server takes the status of an object only by itself.
async fn make(api: &Api, Entry { collection, mut object }: Entry) -> anyhow::Result<()> {
    let status = object.as_object_mut().and_then(|object| object.remove("status"));
    api.create(&collection, &object).await?;
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    if let (Some(status), Some(name)) = (status, name) {
        api.patch(&format!("{collection}/{name}/status"), &json!({"status": status})).await?;
    }
    Ok(())
}
