//! Table tests of the command line.

use super::*;

fn parse(options: &[&str]) -> Result<Config, String> {
    let needed = ["controller", "--from-dir", "d", "--node-tokens", "t", "--ca-dir", "c"];
    let args = Args::try_parse_from(needed.iter().chain(options));
    args.map_err(|e| e.to_string())?.try_into().map_err(|e: InvalidConfig| e.to_string())
}

#[test]
fn every_mistake_is_told_at_once() {
    let error = parse(&["--trust-domain", "a/b", "--cluster-id", "", "--root-namespace", "a.b"])
        .unwrap_err();
    for option in ["--trust-domain", "--cluster-id", "--root-namespace"] {
        assert!(error.contains(option), "{error}");
    }
}

#[test]
fn plaintext_stays_on_the_loopback() {
    assert!(parse(&["--plaintext"]).is_ok());
    assert!(parse(&["--plaintext", "--listen", "[::1]:1"]).is_ok());
    for address in ["0.0.0.0:15012", "10.0.0.1:15012", "[::]:15012"] {
        let error = parse(&["--plaintext", "--listen", address]).unwrap_err();
        assert!(error.contains(address), "{error}");
    }
}

#[test]
fn the_server_is_certified_for_what_it_is_called() {
    let names = parse(&["--listen", "10.1.2.3:15012", "--server-name", "x.example"])
        .map(|config| config.server_names)
        .unwrap();
    for name in ["localhost", "istiod.istio-system.svc", "10.1.2.3", "x.example"] {
        assert!(names.iter().any(|n| n == name), "{names:?}");
    }
}

#[test]
fn times_have_units() {
    for (text, seconds) in [("30s", 30), ("15m", 900), ("24h", 86_400), ("7d", 604_800)] {
        assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
    }
    for text in ["", "h", "10", "-1s", "1.5h", "99999999999999999999d", "1 h"] {
        assert!(duration(text).is_err(), "{text}");
    }
}

#[test]
fn objects_come_from_exactly_one_place() {
    let parse = |options: &[&str]| {
        let args = Args::try_parse_from(["controller"].iter().chain(options)).ok()?;
        Config::try_from(args).ok()
    };
    let config =
        parse(&["--kubernetes", "--namespace", "mesh", "--token-audience", "a,b"]).unwrap();
    assert_eq!(config.listen.to_string(), "[::]:15012");
    assert!(config.server_names.contains(&"ambit-controller.mesh.svc".to_owned()));
    let Source::Cluster(cluster) = config.source else { panic!("files") };
    assert_eq!(cluster.namespace, "mesh");
    assert_eq!(cluster.reviews.audiences, ["a", "b"]);
    let trusted: Vec<String> = cluster.reviews.trusted.iter().map(ToString::to_string).collect();
    assert_eq!(trusted, ["istio-system/ztunnel"]);

    let files = ["--from-dir", "d", "--node-tokens", "t", "--ca-dir", "c"];
    assert_eq!(parse(&files).unwrap().listen.to_string(), "127.0.0.1:15012");
    for wrong in [&[][..], &files[..2], &files[..4], &[&files[..], &["--kubernetes"]].concat()] {
        assert!(parse(wrong).is_none(), "{wrong:?}");
    }
}
