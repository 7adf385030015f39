//! The metrics endpoint, and the metrics that every process has.

mod negotiate;
mod process;
mod runtime;

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, StatusCode, header};
use http_body_util::Full;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

use crate::http::{Parts, Router, WholeResponse, text};

use negotiate::{ContentType, accepts_gzip};

/// Bodies under this many bytes are not worth compressing.
const GZIP_FROM: usize = 1024;

/// Labels of `istio_build`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabels {
    component: &'static str,
    tag: String,
}

/// Answers `/metrics` and `/stats/prometheus`: OpenMetrics text, typed by Accept, gzipped by Accept-Encoding.
pub fn router(registry: Arc<Registry>) -> Router {
    let handler = move |request: Parts| {
        let registry = Arc::clone(&registry);
        async move {
            // Many series take a while to print; the thread has other things to do.
            let rendered = tokio::task::spawn_blocking(move || render(&registry, &request)).await;
            rendered.unwrap_or_else(|_| {
                text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be printed\n")
            })
        }
    };
    Router::new().with_index("metrics").get("/metrics", "OpenMetrics", handler.clone()).get(
        "/stats/prometheus",
        "the same",
        handler,
    )
}

/// Registers `istio_build`, `process_*` and, for each of `runtimes`, `tokio_*`.
///
/// `tag` is the version that the installation gave (`ISTIO_META_ISTIO_VERSION`); `unknown` when absent.
pub fn register_process(
    registry: &mut Registry,
    component: &'static str,
    tag: Option<&str>,
    runtimes: Vec<Handle>,
) {
    let build = Family::<BuildLabels, Gauge>::default();
    let labels = BuildLabels { component, tag: tag.unwrap_or("unknown").to_owned() };
    build.get_or_create(&labels).set(1);
    registry.register("istio_build", "What this process was built from", build);
    registry.register_collector(Box::new(process::Descriptors));
    registry.register_collector(Box::new(runtime::Runtimes(runtimes)));
}

fn render(registry: &Registry, request: &Parts) -> WholeResponse {
    let mut body = String::new();
    if encode(&mut body, registry).is_err() {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be printed\n");
    }
    let mut response = http::Response::new(Full::default());
    let headers = response.headers_mut();
    let content_type = ContentType::of(&request.headers).as_str();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    let compressed = (body.len() >= GZIP_FROM && accepts_gzip(&request.headers))
        .then(|| gzip(body.as_bytes()).ok())
        .flatten();
    let body = match compressed {
        Some(compressed) => {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            compressed
        }
        None => body.into_bytes(),
    };
    *response.body_mut() = Full::new(Bytes::from(body));
    response
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

#[cfg(test)]
mod tests;
