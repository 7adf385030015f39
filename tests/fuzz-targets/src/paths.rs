//! Paths: what was judged is what is sent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ambit_model::{
    PathMatch, PolicyTarget, RequestAction, RequestOperation, RequestPolicy, RequestRule,
    StringMatch, Terms,
};
use ambit_policy::{
    CompiledPolicy, EncodedSlashes, HeaderValues, RequestFacts, RequestPath, decide_request,
};

/// A target: the form of its path is the same the second time, and a policy that names it sees it.
pub(crate) fn request_path(data: &[u8]) {
    for method in ["GET", "OPTIONS", "CONNECT"] {
        for slashes in [EncodedSlashes::Decode, EncodedSlashes::Keep] {
            let Ok(read) = RequestPath::parse(method, data, slashes) else { continue };
            let path = read.path();
            if method == "CONNECT" || path == "*" {
                continue;
            }
            plain(path, slashes);
            let sent = match read.query() {
                Some(query) => format!("{path}?{query}"),
                None => path.to_owned(),
            };
            let again = RequestPath::parse(method, sent.as_bytes(), slashes);
            let again = again.unwrap_or_else(|error| panic!("{sent:?}: {error}"));
            assert_eq!((again.path(), again.query()), (path, read.query()));
            assert!(!again.is_rewritten(), "{sent:?}");
            if slashes == EncodedSlashes::Decode {
                assert_eq!(denied(&read), denied(&again), "{sent:?} of {data:?}");
                assert!(denied(&again), "{sent:?} is not what its policy names");
            }
        }
    }
}

/// A server that knows no more than to decode once finds its way without going up or round.
fn plain(path: &str, slashes: EncodedSlashes) {
    assert!(path.starts_with('/') && path.is_ascii(), "{path:?}");
    let inner = path.strip_suffix('/').unwrap_or(path);
    let segments: Vec<&str> = inner.split('/').skip(1).collect();
    for segment in &segments {
        let decoded = decode(segment);
        assert!(!segment.is_empty(), "{path:?}");
        assert!(decoded != b"." && decoded != b"..", "{path:?}");
        assert!(!decoded.iter().any(u8::is_ascii_control), "{path:?}");
        let slash = decoded.iter().any(|byte| matches!(byte, b'/' | b'\\'));
        assert!(!slash || slashes == EncodedSlashes::Keep, "{path:?}");
        assert!(str::from_utf8(&decoded).is_ok(), "{path:?}");
    }
}

fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        match byte {
            b'%' => match (digit(), digit()) {
                (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
                _ => panic!("{text:?} is badly encoded"),
            },
            byte => out.push(byte),
        }
    }
    out
}

struct NoHeaders;

impl HeaderValues for NoHeaders {
    fn each(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
}

/// Whether a policy denies the request that names its path, as it is sent.
fn denied(path: &RequestPath<'_>) -> bool {
    let text = StringMatch::Exact(path.path().into());
    let paths = Terms { values: vec![PathMatch::Text(text)], not_values: Vec::new() };
    let to = vec![RequestOperation { paths, ..RequestOperation::default() }];
    let policy = CompiledPolicy::new(RequestPolicy {
        name: "deny".into(),
        namespace: "shop".into(),
        action: RequestAction::Deny,
        dry_run: false,
        targets: vec![PolicyTarget::Gateway],
        rules: vec![RequestRule { to, ..RequestRule::default() }],
    });
    let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
    let facts = RequestFacts {
        method: "GET",
        path,
        host: None,
        headers: &NoHeaders,
        source_identity: None,
        source_ip: ip,
        remote_ip: ip,
        destination: SocketAddr::new(ip, 80),
        sni: None,
        auth: None,
    };
    !decide_request(&facts, [&policy]).reason.allows()
}
