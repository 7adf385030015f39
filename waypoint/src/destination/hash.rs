//! What sticks a request to an endpoint, and to which one.

use std::net::IpAddr;

use http::HeaderMap;
use xxhash_rust::xxh64::xxh64;

use super::HashSource;

/// What of a request may be hashed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashKey<'a> {
    pub headers: &'a HeaderMap,
    pub query: &'a str,
    pub source: IpAddr,
}

/// The hash of a request; `None` where it has nothing of what is hashed.
pub(crate) fn hash_of(source: &HashSource, key: HashKey<'_>) -> Option<u64> {
    match source {
        HashSource::Header(name) => key.headers.get(name).map(|value| xxh64(value.as_bytes(), 0)),
        HashSource::Query(name) => form_urlencoded::parse(key.query.as_bytes())
            .find_map(|(known, value)| (*known == **name).then(|| xxh64(value.as_bytes(), 0))),
        HashSource::Cookie { name, .. } => {
            cookie(key.headers, name).map(|v| xxh64(v.as_bytes(), 0))
        }
        HashSource::SourceAddress => Some(match key.source {
            IpAddr::V4(ip) => xxh64(&ip.octets(), 0),
            IpAddr::V6(ip) => xxh64(&ip.octets(), 0),
        }),
    }
}

/// The hash of a text, as those that requests bring are hashed.
pub(crate) fn hash_text(text: &str) -> u64 {
    xxh64(text.as_bytes(), 0)
}

/// The value of a cookie (RFC 6265 4.2).
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(http::header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (known, value) = pair.trim().split_once('=')?;
        (known == name).then(|| value.trim_matches('"'))
    })
}

/// How much a request with this hash wants to go to the endpoint: the highest score wins (weighted rendezvous hashing),
/// so that the fewest requests move when endpoints come and go.
pub(crate) fn score(hash: u64, endpoint: &str, weight: u32) -> f64 {
    let mixed = xxh64(endpoint.as_bytes(), hash);
    // In (0, 1), from the 53 bits that a float can tell apart.
    let unit = ((mixed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    f64::from(weight) / -unit.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn winner(hash: u64, endpoints: &[(String, u32)]) -> &str {
        let score = |(name, weight): &(String, u32)| score(hash, name, *weight);
        &endpoints.iter().max_by(|a, b| score(a).total_cmp(&score(b))).unwrap().0
    }

    #[test]
    fn one_endpoint_more_moves_no_more_than_its_share() {
        for n in [2, 3, 5, 10, 50] {
            let mut endpoints: Vec<(String, u32)> =
                (0..n).map(|i| (format!("pod-{i}"), 1)).collect();
            let hashes: Vec<u64> = (0..10_000_u64).map(|i| xxh64(&i.to_le_bytes(), 7)).collect();
            let before: Vec<String> =
                hashes.iter().map(|h| winner(*h, &endpoints).to_owned()).collect();
            endpoints.push(("new".into(), 1));
            let moved =
                hashes.iter().zip(&before).filter(|(h, old)| winner(**h, &endpoints) != **old);
            let share = moved.count() as f64 / 10_000.0;
            assert!(share <= 1.1 / f64::from(n), "{share} of {n}");
        }
    }

    #[test]
    fn weights_count() {
        let endpoints = [("a".to_owned(), 1), ("b".to_owned(), 3)];
        let hits =
            (0..10_000_u64).filter(|i| winner(xxh64(&i.to_le_bytes(), 0), &endpoints) == "b");
        let share = hits.count() as f64 / 10_000.0;
        assert!((0.73..0.77).contains(&share), "{share}");
    }

    #[test]
    fn requests_are_hashed_by_what_they_have() {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", "ann".parse().unwrap());
        headers.append("cookie", "a=1; session=\"ann\"".parse().unwrap());
        let key =
            HashKey { headers: &headers, query: "a=1&user=a%6en", source: [10, 0, 0, 1].into() };
        let ann = Some(xxh64(b"ann", 0));
        let cookie =
            |name: &str| HashSource::Cookie { name: name.into(), path: "/".into(), ttl: None };
        for (source, hash) in [
            (HashSource::Header(http::HeaderName::from_static("x-user")), ann),
            (HashSource::Header(http::HeaderName::from_static("x-none")), None),
            (HashSource::Query("user".into()), ann),
            (HashSource::Query("none".into()), None),
            (cookie("session"), ann),
            (cookie("sessio"), None),
            (HashSource::SourceAddress, Some(xxh64(&[10, 0, 0, 1], 0))),
        ] {
            assert_eq!(hash_of(&source, key), hash, "{source:?}");
        }
    }
}
