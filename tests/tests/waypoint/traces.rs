//! Spans in a collector that nobody here wrote: Jaeger takes the waypoint's, and shows one trace with its client's.

use std::collections::BTreeMap;

use ambit_tests::{eventually, foreign, missing, start_in};
use serde_json::{Value, json};

use super::endpoint::{Endpoint, answer};
use super::scene::{SERVERS, Scene, Service};

const FAR: &[&str] = &[SERVERS[1]];
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn a_collector_shows_one_trace_of_client_and_waypoint() {
    if missing(&["curl", "python3"]).is_some() {
        return;
    }
    let Some([jaeger]) = foreign(["jaeger"]) else { return };
    // The collector is in the waypoint's own pod, where it is found before there is a mesh.
    let collector = "http://127.0.0.1:4317";
    let scene = Scene::start_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", collector)]).await;
    let _jaeger = start_in(
        scene.pod("waypoint").room(),
        &[jaeger.to_str().unwrap(), "--collector.otlp.grpc.host-port=127.0.0.1:4317"],
    );
    eventually(|| async {
        let up = scene.finish("waypoint", &["curl", "-sSf", "http://127.0.0.1:14269/"], b"").await;
        if up.status.success() { Ok(()) } else { Err(up.stderr) }
    })
    .await;
    let endpoint = Endpoint::start(&scene, "far", |_| answer(200, "", "ok"));
    scene.offer(Service::http("traced", endpoint.port).on(FAR)).await;
    let begun = json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "client"}}]},
        "scopeSpans": [{"spans": [{
            "traceId": TRACE, "spanId": CLIENT, "name": "call", "kind": 3,
            "startTimeUnixNano": "1764000000000000000", "endTimeUnixNano": "1764000001000000000",
        }]}],
    }]})
    .to_string();
    let told = ["curl", "-sSf", "-H", "Content-Type: application/json", "-d", &begun];
    scene.run("waypoint", &[&told[..], &["http://127.0.0.1:4318/v1/traces"]].concat()).await;
    let parent = format!("traceparent: 00-{TRACE}-{CLIENT}-01");
    let url = scene.url("traced", "/");
    scene.run("client", &["curl", "-sSf", "-H", &parent, &url]).await;
    let query = format!("http://127.0.0.1:16686/api/traces/{TRACE}");
    let spans = eventually(|| async {
        let found: Value =
            serde_json::from_str(&scene.run("waypoint", &["curl", "-sS", &query]).await)
                .map_err(|error| error.to_string())?;
        let spans = spans(&found);
        if spans.len() == 2 { Ok(spans) } else { Err(format!("{found:#}")) }
    })
    .await;
    let (service, own, parent) = &spans["waypoint.shop"];
    assert_eq!((&**service, &**parent), ("waypoint.shop", CLIENT));
    assert_eq!(spans["client"].1, CLIENT);
    // The endpoint was told the waypoint's span.
    let requests = endpoint.requests();
    let expected = format!("00-{TRACE}-{own}-01");
    assert_eq!(requests.last().unwrap().header("traceparent"), Some(&*expected));
}

/// Service, id and parent of each span of the only trace, by its service.
fn spans(found: &Value) -> BTreeMap<String, (String, String, String)> {
    let trace = &found["data"][0];
    let all = trace["spans"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let span = |span: &Value| {
        let process = text(&span["processID"]);
        let service = text(&trace["processes"][process]["serviceName"]);
        let parent = text(&span["references"][0]["spanID"]);
        (service.clone(), (service, text(&span["spanID"]), parent))
    };
    all.iter().map(span).collect()
}
