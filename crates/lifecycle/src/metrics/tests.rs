use std::io::Read;

use flate2::read::GzDecoder;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;

use super::*;

fn registry() -> Arc<Registry> {
    let mut registry = Registry::default();
    register_process(&mut registry, "ztunnel", Some("1.2.3"), vec![Handle::current()]);
    Arc::new(registry)
}

async fn scrape(path: &str, headers: &[(&'static str, &str)]) -> (HeaderMap, Vec<u8>) {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let parts = request.body(()).unwrap().into_parts().0;
    let response = router(registry()).answer(parts).await;
    assert_eq!(response.status(), StatusCode::OK);
    let (head, body) = response.into_parts();
    (head.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn what_every_process_tells() {
    for path in ["/metrics", "/stats/prometheus"] {
        let (headers, body) = scrape(path, &[]).await;
        assert_eq!(headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        let text = String::from_utf8(body).unwrap();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
        };
        assert_eq!(value(r#"istio_build{component="ztunnel",tag="1.2.3"}"#), 1.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert_eq!(value("tokio_num_workers"), 1.0);
        assert!(value("tokio_num_alive_tasks") >= 0.0);
        assert!(value(r#"tokio_worker_park_count_total{worker="0"}"#) >= 0.0);
        assert!(value(r#"tokio_worker_total_busy_duration_seconds_total{worker="0"}"#) >= 0.0);
    }
}

#[tokio::test]
async fn openmetrics_and_gzip_when_asked() {
    let asked =
        [("accept", "application/openmetrics-text; version=1.0.0"), ("accept-encoding", "gzip")];
    let (headers, body) = scrape("/metrics", &asked).await;
    let openmetrics = "application/openmetrics-text;charset=utf-8;version=1.0.0";
    assert_eq!(headers[header::CONTENT_TYPE], openmetrics);
    assert_eq!(headers[header::CONTENT_ENCODING], "gzip");
    let mut text = String::new();
    GzDecoder::new(body.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text.contains("istio_build{") && text.ends_with("# EOF\n"), "{text}");
}
