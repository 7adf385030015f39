//! Content negotiation, as far as scrapers need it.

use http::{HeaderMap, HeaderName, header};

/// What the body is called; the bytes are the same, as in Istio's proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentType {
    PlainText,
    OpenMetrics,
}

impl ContentType {
    /// OpenMetrics if the client names it.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let named = elements(headers, &header::ACCEPT)
            .any(|(name, quality)| name == "application/openmetrics-text" && quality > 0.0);
        if named { Self::OpenMetrics } else { Self::PlainText }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::PlainText => "text/plain; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text;charset=utf-8;version=1.0.0",
        }
    }
}

/// Whether the client wants gzip: named, or meant by `*`, with a quality above zero.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let quality = |wanted: &str| {
        elements(headers, &header::ACCEPT_ENCODING)
            .find(|(name, _)| name == wanted)
            .map(|(_, quality)| quality)
    };
    quality("gzip").or_else(|| quality("*")).is_some_and(|quality| quality > 0.0)
}

/// The elements of a list header, in lower case without parameters, and their quality.
fn elements<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = (String, f32)> + 'a {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|element| {
            let mut pieces = element.split(';').map(str::trim);
            let name = pieces.next().unwrap_or_default().to_ascii_lowercase();
            let quality = pieces.find_map(|piece| piece.strip_prefix("q=")?.parse().ok());
            (name, quality.unwrap_or(1.0))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, http::HeaderValue::from_static(value))])
    }

    #[test]
    fn content_types() {
        const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        for (accept, expected) in [
            (PROMETHEUS, ContentType::OpenMetrics),
            ("Application/OpenMetrics-Text", ContentType::OpenMetrics),
            ("text/plain", ContentType::PlainText),
            ("*/*", ContentType::PlainText),
            ("application/openmetrics-text;q=0", ContentType::PlainText),
        ] {
            assert_eq!(ContentType::of(&headers(header::ACCEPT, accept)), expected, "{accept}");
        }
        assert_eq!(ContentType::of(&HeaderMap::new()), ContentType::PlainText);
    }

    #[test]
    fn encodings() {
        for (accept, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("*;q=0", false),
            ("gzip;q=0, *", false),
            ("identity", false),
            ("", false),
        ] {
            let headers = headers(header::ACCEPT_ENCODING, accept);
            assert_eq!(accepts_gzip(&headers), expected, "{accept}");
        }
    }
}
