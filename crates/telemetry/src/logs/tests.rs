use std::io;

use tracing::subscriber::with_default;
use tracing::{debug, error, info, info_span, trace, warn};

use super::*;
use crate::{AccessLog, AccessPeer, Direction, Outcome};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that `events` logs, and what is left of the handle's levels.
fn lines(format: Format, filter: &str, events: impl FnOnce(&LogHandle)) -> Vec<String> {
    let captured = Captured::default();
    let writer = captured.clone();
    let (subscriber, handle) = build(format, filter, move || writer.clone()).unwrap();
    with_default(subscriber, || events(&handle));
    let bytes = captured.0.lock();
    String::from_utf8(bytes.clone()).unwrap().lines().map(str::to_owned).collect()
}

/// A text line without its time, whose form it checks.
fn timeless(line: &str) -> &str {
    let (time, rest) = line.split_once('\t').unwrap();
    assert_eq!(time.len(), "2024-04-11T15:38:42.182974Z".len(), "{time}");
    assert!(time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
    rest
}

#[test]
fn text_lines() {
    let lines = lines(Format::Text, "debug", |_| {
        info!(target: "ztunnel::proxy", count = 3, name = "x y", ok = true, "it works");
        warn!(target: "ambit_ztunnel::proxy::pool", "no fields");
        error!(target: "ambit_hbone::pool", shown = %"bare", "x={}", 1);
        let outer = info_span!("conn", id = 7, who = "me").entered();
        let _inner = info_span!("empty").entered();
        debug!(target: "dns", "inside");
        drop(outer);
    });
    let expected = [
        "info\tproxy\tit works\tcount=3 name=\"x y\" ok=true",
        "warn\tproxy::pool\tno fields\t",
        "error\thbone::pool\tx=1\tshown=bare",
        "debug\tdns:conn{id=7 who=\"me\"}:empty\tinside\t",
    ];
    assert_eq!(lines.iter().map(|l| timeless(l)).collect::<Vec<_>>(), expected);
}

#[test]
fn what_a_peer_sends_stays_on_its_line_and_in_its_column() {
    let evil = "a\nb\tc\u{1b}[31m\r";
    let text = lines(Format::Text, "info", |_| info!(shown = %evil, quoted = evil, "got {evil}"));
    assert_eq!(text.len(), 1);
    let escaped = "a\\nb\\tc\\u{1b}[31m\\r";
    let rest = timeless(&text[0]);
    assert!(
        rest.ends_with(&format!("got {escaped}\tshown={escaped} quoted=\"{escaped}\"")),
        "{rest}"
    );

    let json = lines(Format::Json, "info", |_| info!(shown = %evil, quoted = evil, "got {evil}"));
    assert_eq!(json.len(), 1);
    let value: serde_json::Value = serde_json::from_str(&json[0]).unwrap();
    assert_eq!((&value["shown"], &value["quoted"]), (&evil.into(), &evil.into()));
}

#[test]
fn json_lines() {
    let lines = lines(Format::Json, "info", |_| {
        let span = info_span!("conn", id = 7, later = tracing::field::Empty);
        let _entered = span.enter();
        span.record("later", "x");
        let _empty = info_span!("empty").entered();
        info!(target: "ambit_ztunnel::proxy", count = -3, part = 0.5, name = "x\"y", on = true, "hi");
    });
    let value: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    let time = value["time"].as_str().unwrap().to_owned();
    assert_eq!(time.len(), 27);
    let expected = format!(
        r#"{{"level":"info","time":"{time}","scope":"ztunnel::proxy","message":"hi","count":-3,"part":0.5,"name":"x\"y","on":true,"conn":{{"id":7,"later":"x"}},"empty":{{}}}}"#
    );
    assert_eq!(lines, [expected]);
}

#[test]
fn levels_change_at_run_time() {
    let emit = || {
        trace!(target: "ambit_ztunnel::proxy", "trace");
        debug!(target: "ambit_ztunnel::proxy", "debug");
        debug!(target: "other", "other");
        info!(target: "other", "info");
    };
    let count = |filter: &str, change: &dyn Fn(&LogHandle)| {
        lines(Format::Text, filter, |handle| {
            change(handle);
            emit();
        })
        .len()
    };
    assert_eq!(count("info", &|_| ()), 1);
    assert_eq!(count("info", &|h| h.set("debug").unwrap()), 3);
    assert_eq!(count("info", &|h| h.set("ztunnel::proxy=debug").unwrap()), 2);
    assert_eq!(count("info", &|h| h.set("ztunnel=trace,off").unwrap()), 2);
    assert_eq!(count("info", &|h| h.set("other=off").unwrap()), 0);
    assert_eq!(
        count("info", &|h| {
            h.set("trace").unwrap();
            h.reset().unwrap();
        }),
        1
    );
}

#[test]
fn current_levels_read_back() {
    lines(Format::Text, "info,a::b=trace", |handle| {
        assert_eq!(handle.current(), "info,a::b=trace");
        handle.set("ztunnel::proxy=debug, a::b=warn").unwrap();
        assert_eq!(handle.current(), "info,a::b=warn,ztunnel::proxy=debug");
        handle.set("warn").unwrap();
        assert_eq!(handle.current(), "warn,a::b=warn,ztunnel::proxy=debug");
        handle.reset().unwrap();
        assert_eq!(handle.current(), "info,a::b=trace");
    });
}

#[test]
fn mistakes_change_nothing() {
    lines(Format::Text, "info", |handle| {
        for bad in ["a=loud", "[span]=info", "=info", "a=b=info", "info,a b=info", "x{y}=info"] {
            assert!(matches!(handle.set(bad), Err(LogError::Filter(_))), "{bad}");
        }
        let error = handle.set("info,ztunnel::proxy").unwrap_err();
        assert!(matches!(&error, LogError::BareScope(scope) if scope == "ztunnel::proxy"));
        assert!(matches!(handle.set("debgu"), Err(LogError::BareScope(_))));
        assert_eq!(handle.current(), "info");
    });
    assert!(matches!("yaml".parse::<Format>(), Err(LogError::Format(_))));
    assert_eq!("json".parse::<Format>().unwrap(), Format::Json);
}

#[test]
fn an_environment_filter_may_name_a_bare_scope() {
    let filter: Filter = "ztunnel::proxy,warn".parse().unwrap();
    assert_eq!(filter.to_string(), "warn,ztunnel::proxy=trace");
    assert_eq!("".parse::<Filter>().unwrap().to_string(), "error");
}

fn connection<'a>() -> AccessLog<'a> {
    AccessLog {
        source: AccessPeer {
            addr: "10.0.0.1:40000".parse().unwrap(),
            workload: Some("curl-1"),
            namespace: Some("default"),
            identity: Some("spiffe://cluster.local/ns/default/sa/curl"),
            cluster: Some("Kubernetes"),
        },
        destination: AccessPeer {
            addr: "10.0.1.2:15008".parse().unwrap(),
            workload: Some("web-1"),
            namespace: Some("shop"),
            identity: None,
            cluster: None,
        },
        hbone_addr: Some(&"10.0.1.2:80"),
        service: Some("web.shop.svc.cluster.local"),
        direction: Direction::Outbound,
    }
}

const FIELDS: &str = concat!(
    "src.addr=10.0.0.1:40000 src.workload=\"curl-1\" src.namespace=\"default\" ",
    "src.identity=\"spiffe://cluster.local/ns/default/sa/curl\" src.cluster=\"Kubernetes\" ",
    "dst.addr=10.0.1.2:15008 dst.hbone_addr=10.0.1.2:80 dst.service=\"web.shop.svc.cluster.local\" ",
    "dst.workload=\"web-1\" dst.namespace=\"shop\" direction=\"outbound\""
);

#[test]
fn access_log_lines() {
    let lines = lines(Format::Text, "debug", |_| {
        let _ignored = info_span!("connection").entered();
        let log = connection();
        log.opened();
        let duration = std::time::Duration::from_micros(12_900);
        let outcome = Outcome { bytes_sent: 1, bytes_recv: 2, duration, error: None };
        log.complete(outcome);
        log.complete(Outcome { error: Some(&"reset"), ..outcome });
        let (src, dst) = (log.source.addr, log.destination.addr);
        AccessLog::failed(src, dst, Direction::Inbound, &"no such pod");
    });
    let expected = [
        format!("debug\taccess\tconnection opened\t{FIELDS}"),
        format!(
            "info\taccess\tconnection complete\t{FIELDS} bytes_sent=1 bytes_recv=2 duration=\"12ms\""
        ),
        format!(
            "error\taccess\tconnection complete\t{FIELDS} bytes_sent=1 bytes_recv=2 duration=\"12ms\" error=\"reset\""
        ),
        "warn\taccess\tconnection failed\tsrc.addr=10.0.0.1:40000 dst.addr=10.0.1.2:15008 direction=\"inbound\" error=\"no such pod\"".to_owned(),
    ];
    assert_eq!(lines.iter().map(|l| timeless(l)).collect::<Vec<_>>(), expected);
}

#[test]
fn a_disabled_access_log_formats_nothing() {
    struct Bomb;
    impl std::fmt::Display for Bomb {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("formatted although disabled");
        }
    }
    let lines = lines(Format::Text, "info,access=off", |_| {
        assert!(!AccessLog::enabled());
        let log = AccessLog { hbone_addr: Some(&Bomb), ..connection() };
        log.opened();
        let duration = std::time::Duration::ZERO;
        log.complete(Outcome { bytes_sent: 0, bytes_recv: 0, duration, error: None });
    });
    assert!(lines.is_empty());
}
