use std::sync::OnceLock;

use ambit_telemetry::Format;
use http::Request;
use http_body_util::BodyExt;

use super::*;
use crate::shutdown::{Shutdown, ShutdownReason};

async fn call(router: &Router, method: &str, uri: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    let response = router.answer(request.into_parts().0).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// There is one subscriber in a process, so one test changes levels.
fn logs() -> LogHandle {
    static LOGS: OnceLock<LogHandle> = OnceLock::new();
    LOGS.get_or_init(|| {
        let (handle, guard) = ambit_telemetry::init(Format::Text, "warn").unwrap();
        std::mem::forget(guard);
        handle
    })
    .clone()
}

#[tokio::test]
async fn readiness_names_what_is_pending() {
    let ready = Ready::new();
    let router = readiness(ready.clone());
    let (proxy, state) = (ready.register("proxy"), ready.register("state manager"));
    let pending = (
        StatusCode::INTERNAL_SERVER_ERROR,
        "not ready, pending: proxy, state manager\n".to_owned(),
    );
    assert_eq!(call(&router, "GET", "/healthz/ready").await, pending);
    proxy.done();
    state.done();
    let ok = (StatusCode::OK, "ready\n".to_owned());
    assert_eq!(call(&router, "GET", "/healthz/ready").await, ok);
    assert_eq!(call(&router, "GET", "/healthz").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn log_levels() {
    let mut shutdown = Shutdown::install().unwrap();
    let router = admin(Router::new(), logs(), shutdown.trigger());
    for (method, uri, status, body) in [
        ("POST", "/logging", 200, "current log level is warn\n"),
        ("POST", "/logging?level=info", 200, "current log level is info\n"),
        (
            "POST",
            "/logging?level=ztunnel::proxy=debug,warn",
            200,
            "current log level is warn,ztunnel::proxy=debug\n",
        ),
        ("POST", "/logging?level=dns%3Dtrace&reset", 200, "current log level is warn,dns=trace\n"),
        ("POST", "/logging?reset", 200, "current log level is warn\n"),
        ("GET", "/logging?level=info", 405, "invalid method\n"),
        (
            "POST",
            "/logging?level=proxy",
            400,
            "\"proxy\" names no level: write scope=level, for example ztunnel::proxy=debug\n",
        ),
        (
            "POST",
            "/logging?level=a=loud",
            400,
            "log filter \"a=loud\" is not understood: write a level (off, error, warn, info, debug, trace) or scope=level\n",
        ),
        ("POST", "/logging", 200, "current log level is warn\n"),
    ] {
        let (got, text) = call(&router, method, uri).await;
        assert_eq!((got.as_u16(), text.as_str()), (status, body), "{method} {uri}");
    }

    assert_eq!(call(&router, "GET", "/quitquitquit").await.0, StatusCode::METHOD_NOT_ALLOWED);
    let answer = call(&router, "POST", "/quitquitquit").await;
    assert_eq!(answer, (StatusCode::OK, "shutdown now\n".to_owned()));
    assert_eq!(shutdown.wait().await, ShutdownReason::Requested);
    assert_eq!(call(&router, "GET", "/debug/pprof/heap").await.0, StatusCode::NOT_IMPLEMENTED);
}
