//! Which image the proxies have: that of the same registry and version as the controller's own.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};

use super::ProxySettings;
use super::hands::{Failure, within};
use crate::watch::{Backoff, Pace};

/// The image where the controller does not run in a pod.
const DEFAULT: &str = concat!("ambit.dev/waypoint:", env!("CARGO_PKG_VERSION"));

/// Finds it, however long that takes.
pub(super) async fn find(client: &Client, settings: &ProxySettings, pace: Pace) -> String {
    if let Some(image) = &settings.image {
        return image.clone();
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &settings.namespace);
    let mut backoff = Backoff::new(pace);
    let mut complaint = String::new();
    loop {
        let failure = match within(pods.get_opt(&settings.pod), ("get", "", "pods")).await {
            Ok(pod) => return of_pod(pod.as_ref()),
            Err(failure) => failure,
        };
        let pause = match failure {
            Failure::Unreachable(_) => backoff.failed(),
            Failure::Forbidden { .. } | Failure::Refused(_) => pace.absent,
        };
        let text =
            format!("Gateways wait for the name of their image, or set WAYPOINT_IMAGE: {failure}");
        if text != complaint {
            tracing::warn!("{text}");
            complaint = text;
        }
        tokio::time::sleep(pause).await;
    }
}

/// The proxy's image beside that of the controller's pod.
fn of_pod(pod: Option<&Pod>) -> String {
    let containers = pod.and_then(|pod| pod.spec.as_ref()).map(|spec| &spec.containers[..]);
    let mut images = containers.unwrap_or_default().iter().filter_map(|c| c.image.as_deref());
    images.find_map(beside).unwrap_or_else(|| {
        tracing::info!(
            "Gateways are deployed with the image {DEFAULT}; WAYPOINT_IMAGE names another"
        );
        DEFAULT.to_owned()
    })
}

/// `registry/controller:tag` → `registry/waypoint:tag`. A digest is of one image alone.
fn beside(image: &str) -> Option<String> {
    let (registry, name) = image.rsplit_once('/').unwrap_or(("", image));
    let tag = name.strip_prefix("controller")?;
    let tagged = tag.is_empty() || tag.starts_with(':');
    let slash = if registry.is_empty() { "" } else { "/" };
    (tagged && !tag.contains('@')).then(|| format!("{registry}{slash}waypoint{tag}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxys_image_is_beside_the_controllers() {
        for (image, expected) in [
            ("ambit.dev/controller:0.1.0", Some("ambit.dev/waypoint:0.1.0")),
            ("host:5000/a/controller:1", Some("host:5000/a/waypoint:1")),
            ("controller", Some("waypoint")),
            ("ambit.dev/controller@sha256:00", None),
            ("ambit.dev/controller:1@sha256:00", None),
            ("ambit.dev/controllers:1", None),
            ("other/thing:1", None),
        ] {
            assert_eq!(beside(image).as_deref(), expected, "{image}");
        }
        assert_eq!(of_pod(None), DEFAULT);
    }
}
