//! Waypoints that stand behind a ztunnel.

use ambit_model::{ApplicationTunnel, ApplicationTunnelProtocol};

use crate::index::{World, waypoints};
use crate::watch::{Meta, Problem};

/// How a waypoint wants its traffic from the ztunnel in front of it, e.g. `PROXY/15088`.
pub(super) fn application_tunnel(
    world: World<'_>,
    meta: &Meta,
    problems: &mut Vec<Problem>,
) -> Option<ApplicationTunnel> {
    let annotation = "ambient.istio.io/waypoint-inbound-binding";
    let gateway = world.inputs.gateway(&meta.namespace, waypoints::gateway_name(meta)?)?;
    let binding = gateway.meta.annotation(annotation)?;
    let (protocol, port) = binding.split_once('/').unwrap_or((binding, ""));
    let port = if port.is_empty() { Ok(None) } else { port.parse().map(Some) };
    match (protocol, port) {
        ("NONE", Ok(_)) => None,
        ("PROXY", Ok(port)) if port != Some(0) => {
            Some(ApplicationTunnel { protocol: ApplicationTunnelProtocol::Proxy, port })
        }
        _ => {
            let message = format!(
                "{binding:?} of Gateway {}/{} is neither NONE nor PROXY/<port>",
                gateway.meta.namespace, gateway.meta.name
            );
            problems.push(Problem::new(format!("metadata.annotations[{annotation}]"), message));
            None
        }
    }
}
