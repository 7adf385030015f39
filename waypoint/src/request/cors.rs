//! Requests from pages of other origins (Fetch, "CORS protocol").

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::answer::Answer;
use super::head::Head;
use crate::rules::Cors;

/// The headers that tell a browser what is allowed; none where nothing is, or nobody asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Granted(Vec<(HeaderName, HeaderValue)>);

// === impl Granted ===

impl Granted {
    /// Puts them in place of what the endpoint said.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name, value.clone());
        }
    }
}

/// What `cors` allows the page that `head` comes from.
///
/// # Errors
/// A preflight, which is answered here.
pub(super) fn check(cors: &Cors, head: &Head) -> Result<Granted, Answer> {
    let Some(origin) = head.headers.get(header::ORIGIN) else { return Ok(Granted::default()) };
    let preflight = head.method == Method::OPTIONS
        && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let allowed = cors.origins.iter().any(|allowed| allowed.matches(origin.as_bytes()));
    let mut granted = Granted::default();
    if allowed {
        granted.0.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()));
        if cors.credentials {
            let yes = HeaderValue::from_static("true");
            granted.0.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes));
        }
        if preflight {
            granted.0.extend(preflight_headers(cors, head));
        }
        // Browsers look for it in the response proper; the specification of the filter has it in both.
        if let Some(expose) = list(&cors.expose) {
            granted.0.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, expose));
        }
    }
    if preflight && (allowed || !cors.forward_unmatched_preflights) {
        return Err(Answer::given(StatusCode::OK, Bytes::new()).with_cors(granted));
    }
    Ok(granted)
}

fn preflight_headers(cors: &Cors, head: &Head) -> Vec<(HeaderName, HeaderValue)> {
    let asked = |name: HeaderName| head.headers.get(name).cloned();
    // With credentials "*" means a method or header of that name, so what was asked for is repeated.
    let or_all = |values: &[HeaderValue], asked: Option<HeaderValue>| {
        let all = values.iter().any(|value| value == "*");
        if all && asked.is_some() { asked } else { list(values) }
    };
    let methods = or_all(&cors.methods, asked(header::ACCESS_CONTROL_REQUEST_METHOD));
    let headers = or_all(&cors.headers, asked(header::ACCESS_CONTROL_REQUEST_HEADERS));
    [
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, headers),
        (header::ACCESS_CONTROL_MAX_AGE, cors.max_age.clone()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

fn list(values: &[HeaderValue]) -> Option<HeaderValue> {
    match values {
        [] => None,
        [one] => Some(one.clone()),
        many => {
            let texts: Vec<&[u8]> = many.iter().map(HeaderValue::as_bytes).collect();
            HeaderValue::from_bytes(&texts.join(&b", "[..])).ok()
        }
    }
}
