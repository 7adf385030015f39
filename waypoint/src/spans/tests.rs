//! Trace context as a table, and spans as a collector gets them.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::{Request, Response, Status};

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

#[test]
fn context_is_read_in_every_form() {
    let w3c = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
    for (pairs, decided, sampled) in [
        (vec![("traceparent", w3c("01"))], true, true),
        (vec![("traceparent", w3c("00"))], true, false),
        (vec![("b3", format!("{TRACE}-{SPAN}-1"))], true, true),
        (vec![("b3", format!("{TRACE}-{SPAN}-0-{SPAN}"))], true, false),
        (vec![("b3", format!("{TRACE}-{SPAN}"))], false, false),
        (
            vec![
                ("x-b3-traceid", TRACE.into()),
                ("x-b3-spanid", SPAN.into()),
                ("x-b3-sampled", "1".into()),
            ],
            true,
            true,
        ),
        (
            vec![
                ("x-b3-traceid", TRACE.into()),
                ("x-b3-spanid", SPAN.into()),
                ("x-b3-flags", "1".into()),
            ],
            true,
            true,
        ),
    ] {
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let context = Context::read(&headers(&pairs)).unwrap();
        assert_eq!(
            (format!("{:032x}", context.trace), format!("{:016x}", context.span)),
            (TRACE.into(), SPAN.into())
        );
        assert_eq!((context.decided, context.sampled), (decided, sampled), "{pairs:?}");
    }
    for bad in [
        "",
        "00-0-0-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
    ] {
        assert_eq!(Context::read(&headers(&[("traceparent", bad)])), None, "{bad}");
    }
}

#[test]
fn context_is_told_on_in_the_form_in_which_it_came() {
    for pairs in [
        vec![("traceparent", format!("00-{TRACE}-{SPAN}-01"))],
        vec![("b3", format!("{TRACE}-{SPAN}-1"))],
        vec![
            ("x-b3-traceid", TRACE.to_owned()),
            ("x-b3-spanid", SPAN.to_owned()),
            ("x-b3-sampled", "1".to_owned()),
        ],
    ] {
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let mut told = headers(&pairs);
        let before = Context::read(&told).unwrap();
        let child = before.child();
        child.write(&mut told);
        let after = Context::read(&told).unwrap();
        assert_eq!((after.trace, after.span), (before.trace, child.span), "{told:?}");
        assert_ne!(after.span, before.span);
    }
}

struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test]
async fn a_collector_gets_what_is_sampled() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut exported) = mpsc::unbounded_channel();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server =
        tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(server.serve_with_incoming(incoming));
    let tracing = Tracing {
        collector: Some(format!("http://{address}").parse().unwrap()),
        service: "waypoint.shop".into(),
        ratio: 0.0,
    };
    let spans = Spans::start(&tracing, &mut Registry::default());
    assert!(spans.begin(&mut HeaderMap::new()).is_none(), "nobody has asked for it");
    let mut asked =
        headers(&[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]);
    let open = spans.begin(&mut asked).unwrap();
    spans.end(open.end(
        "web.shop:80".into(),
        true,
        vec![("http.response.status_code", Value::Number(503))],
    ));
    let request = exported.recv().await.unwrap();
    let of = &request.resource_spans[0];
    let span = &of.scope_spans[0].spans[0];
    assert_eq!(span.name, "web.shop:80");
    assert_eq!(span.trace_id, 0x0af7651916cd43dd8448eb211c80319c_u128.to_be_bytes());
    assert_eq!(span.parent_span_id, 0xb7ad6b7169203331_u64.to_be_bytes());
    assert_eq!(Context::read(&asked).unwrap().span.to_be_bytes(), span.span_id[..]);
    assert_eq!(span.status.as_ref().unwrap().code, 2);
}
