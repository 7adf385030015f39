//! The tests that HTTP/2 and gRPC bring themselves, through a waypoint and through a gateway.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ambit_tests::{binary, foreign, missing};

use super::edge::{Edge, OUTSIDE};
use super::scene::{SERVERS, Scene, Service};

const FAR: &[&str] = &[SERVERS[1]];

/// Cases of h2spec that are not passed without TLS, and why not.
const EXCEPTIONS: &[(&str, &str)] = &[(
    "http2/3.5 Sends invalid connection preface",
    "what does not begin with the preface is HTTP/1.1, which is spoken there as well: it is answered 400 and closed",
)];

#[tokio::test]
async fn h2spec_finds_nothing_but_what_is_known() {
    if missing(&["python3"]).is_some() {
        return;
    }
    let Some([h2spec]) = foreign(["h2spec"]) else { return };
    let scene = Scene::start().await;
    let (port, echo) = (scene.port(), binary("echo"));
    let serve = [echo.to_str().unwrap(), "serve", "--http", &port.to_string()].map(str::to_owned);
    let serve: Vec<&str> = serve.iter().map(String::as_str).collect();
    let _server = scene.serve("far", port, &serve).await;
    scene.offer(Service::http("spec", port).on(FAR)).await;
    let edge = Edge::before(&scene, "spec").await;
    let through_waypoint = scene.vip("spec").ip().to_string();
    let through_gateway = edge.ip.to_string();
    for (pod, host, port, tls) in [
        ("client", &through_waypoint, "80", &[][..]),
        (OUTSIDE, &through_gateway, "80", &[]),
        (OUTSIDE, &through_gateway, "443", &["-t", "-k"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let report = dir.path().join("report.xml");
        let arguments = ["-h", host, "-p", port, "-j", report.to_str().unwrap()];
        let command = [&[h2spec.to_str().unwrap()], &arguments[..], tls].concat();
        let done = scene.finish(pod, &command, b"").await;
        assert!(report.is_file(), "{pod} → {host}:{port}: {done:#?}");
        let (passed, failed) = cases(&report);
        println!("{pod} → {host}:{port}: {passed} passed, {} failed", failed.len());
        assert!(passed > 130, "{passed} passed: {}", done.stdout);
        let known = EXCEPTIONS.iter().filter(|_| tls.is_empty()).map(|(name, _)| *name);
        let known: BTreeSet<&str> = known.collect();
        let failed: BTreeSet<&str> = failed.iter().map(String::as_str).collect();
        assert_eq!(failed, known, "{}", done.stdout);
    }
}

/// How many cases of a JUnit report have passed, and the names of those that have not.
fn cases(report: &Path) -> (usize, Vec<String>) {
    let xml = fs::read_to_string(report).expect("it reports");
    let (mut passed, mut failed) = (0, Vec::new());
    for case in xml.split("<testcase ").skip(1) {
        let attribute = |name: &str| {
            let after = case.split(&format!("{name}=\"")).nth(1).unwrap_or_default();
            after.split('"').next().unwrap_or_default().to_owned()
        };
        let case = case.split("</testcase>").next().unwrap_or_default();
        if case.contains("<failure") || case.contains("<error") {
            failed.push(format!("{} {}", attribute("package"), attribute("classname")));
        } else if !case.contains("<skipped") {
            passed += 1;
        }
    }
    (passed, failed)
}

/// Every case that needs no credentials of Google's and is passed without anything between: the server in Go tells neither
/// its id (pick_first_unary) nor its load (orca_per_rpc, orca_oob) to this client.
const GRPC_CASES: [&str; 14] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
];

/// As much of gRPC's test service as grpcurl calls.
const PROTO: &str = "syntax = \"proto3\";
package grpc.testing;
message Empty {}
message Payload { int32 type = 1; bytes body = 2; }
message EchoStatus { int32 code = 1; string message = 2; }
message Request { int32 response_size = 2; EchoStatus response_status = 7; }
message Response { Payload payload = 1; }
service TestService {
  rpc EmptyCall(Empty) returns (Empty);
  rpc UnaryCall(Request) returns (Response);
}
";

#[tokio::test]
async fn grpc_interoperates() {
    if missing(&["python3"]).is_some() {
        return;
    }
    let Some([client, server, grpcurl]) = foreign(["grpc-client", "grpc-server", "grpcurl"]) else {
        return;
    };
    let [client, server, grpcurl] = [&client, &server, &grpcurl].map(|path| path.to_str().unwrap());
    let scene = Scene::start().await;
    let port = scene.port();
    let _server = scene.serve("far", port, &[server, &format!("-port={port}")]).await;
    scene.offer(Service::http("interop", port).on(FAR).speaks("grpc")).await;
    let edge = Edge::before(&scene, "interop").await;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("test.proto"), PROTO).unwrap();
    let through_waypoint = scene.vip("interop").ip();
    for (pod, host) in [("client", through_waypoint), (OUTSIDE, edge.ip)] {
        let to = [format!("-server_host={host}"), "-server_port=80".to_owned()];
        for case in GRPC_CASES.iter().chain(&["rpc_soak", "channel_soak"]) {
            let case = format!("-test_case={case}");
            let done = scene.finish(pod, &[client, &to[0], &to[1], &case], b"").await;
            assert!(done.status.success(), "{pod}: {case}: {done:#?}");
        }
        let address = format!("{host}:80");
        let from =
            ["-plaintext", "-import-path", dir.path().to_str().unwrap(), "-proto", "test.proto"];
        let call = |data, method| [&[grpcurl], &from[..], &["-d", data, &address, method]].concat();
        let empty = scene.run(pod, &call("{}", "grpc.testing.TestService/EmptyCall")).await;
        assert_eq!(empty.trim(), "{}");
        let sized = call("{\"response_size\": 3}", "grpc.testing.TestService/UnaryCall");
        assert!(scene.run(pod, &sized).await.contains("\"AAAA\""));
        let status = "{\"response_status\": {\"code\": 5, \"message\": \"there is nothing\"}}";
        let failing = call(status, "grpc.testing.TestService/UnaryCall");
        let failed = scene.finish(pod, &failing, b"").await;
        assert!(
            !failed.status.success() && failed.stderr.contains("there is nothing"),
            "{failed:#?}"
        );
    }
}
