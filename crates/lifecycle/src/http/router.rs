//! Which path is answered by what: a table, checked for the method, with an index page made from it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;

/// A request's head.
pub type Parts = http::request::Parts;
/// An answer, whole.
pub type WholeResponse = Response<Full<Bytes>>;

/// Answers requests of one path.
pub trait Handler: Send + Sync + 'static {
    /// The answer to a request with this head.
    fn handle(&self, request: Parts) -> Pin<Box<dyn Future<Output = WholeResponse> + Send>>;
}

/// A handler that is a function and has nothing to wait for.
pub struct ReadHandler<F>(pub F);

/// A table of paths.
#[derive(Default)]
pub struct Router {
    routes: BTreeMap<&'static str, Route>,
    title: Option<&'static str>,
}

struct Route {
    /// None for any method.
    method: Option<Method>,
    description: &'static str,
    handler: Arc<dyn Handler>,
}

// === impl Handler ===

impl<F, R> Handler for F
where
    F: Fn(Parts) -> R + Send + Sync + 'static,
    R: Future<Output = WholeResponse> + Send + 'static,
{
    fn handle(&self, request: Parts) -> Pin<Box<dyn Future<Output = WholeResponse> + Send>> {
        Box::pin(self(request))
    }
}

impl<F: Fn(Parts) -> WholeResponse + Send + Sync + 'static> Handler for ReadHandler<F> {
    fn handle(&self, request: Parts) -> Pin<Box<dyn Future<Output = WholeResponse> + Send>> {
        Box::pin(std::future::ready((self.0)(request)))
    }
}

// === impl Router ===

impl Router {
    /// An empty table: every path is 404.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers `/` with an HTML page that links to every path and says what it is for.
    #[must_use]
    pub fn with_index(mut self, title: &'static str) -> Self {
        self.title = Some(title);
        self
    }

    /// Answers GET (and HEAD) of `path`.
    #[must_use]
    pub fn get(self, path: &'static str, description: &'static str, handler: impl Handler) -> Self {
        self.route(
            path,
            Route { method: Some(Method::GET), description, handler: Arc::new(handler) },
        )
    }

    /// Answers POST of `path`.
    #[must_use]
    pub fn post(
        self,
        path: &'static str,
        description: &'static str,
        handler: impl Handler,
    ) -> Self {
        self.route(
            path,
            Route { method: Some(Method::POST), description, handler: Arc::new(handler) },
        )
    }

    /// Answers every method of `path`.
    #[must_use]
    pub fn any(self, path: &'static str, description: &'static str, handler: impl Handler) -> Self {
        self.route(path, Route { method: None, description, handler: Arc::new(handler) })
    }

    fn route(mut self, path: &'static str, route: Route) -> Self {
        self.routes.insert(path, route);
        self
    }

    /// The answer to a request, for tests of handlers too: the handler's, or 404, or 405 naming the method that is allowed.
    pub async fn answer(&self, request: Parts) -> WholeResponse {
        let path = request.uri.path();
        if let (Some(title), "/") = (self.title, path) {
            return self.index(title);
        }
        let Some(route) = self.routes.get(path) else {
            return text(StatusCode::NOT_FOUND, "not found\n");
        };
        match &route.method {
            Some(allowed) if !admits(allowed, &request.method) => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "invalid method\n");
                if let Ok(value) = HeaderValue::from_str(allowed.as_str()) {
                    response.headers_mut().insert(header::ALLOW, value);
                }
                response
            }
            _ => route.handler.handle(request).await,
        }
    }

    fn index(&self, title: &str) -> WholeResponse {
        let mut page =
            format!("<!DOCTYPE html>\n<title>{title}</title>\n<h1>{title}</h1>\n<table>\n");
        for (path, route) in &self.routes {
            let method = route.method.as_ref().map_or("", Method::as_str);
            let link = match route.method {
                Some(Method::POST) => (*path).to_owned(),
                _ => format!("<a href=\"{path}\">{path}</a>"),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(page, "<tr><td>{method}<td>{link}<td>{}", route.description);
        }
        page.push_str("</table>\n");
        let mut response = text(StatusCode::OK, page);
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, html);
        response
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}

fn admits(allowed: &Method, method: &Method) -> bool {
    method == allowed || (allowed == Method::GET && method == Method::HEAD)
}

/// An answer in plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> WholeResponse {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// The first value of a query parameter, decoded; empty for a parameter without a value.
pub fn query_value<'a>(request: &'a Parts, name: &str) -> Option<Cow<'a, str>> {
    let query = request.uri.query()?;
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
}
