//! Waypoints as they are shown, and what is said of them.

use clap::Parser;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::gateway::{Condition, PodState};
use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn parse(line: &str) -> Option<Command> {
    let words = std::iter::once("waypoint").chain(line.split_whitespace());
    Line::try_parse_from(words).ok().map(|line| line.options.command)
}

#[test]
fn a_waypoint_is_one_gateway() {
    let Some(Command::Generate(shape)) = parse("generate -n shop --name edge --for all") else {
        panic!("it parses")
    };
    let expected = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "edge", "namespace": "shop", "labels": { "istio.io/waypoint-for": "all" } },
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{ "name": "mesh", "port": 15008, "protocol": "HBONE" }],
        },
    });
    assert_eq!(shape.plan().object(), expected);
}

#[test]
fn lines_that_mean_nothing_are_refused() {
    for (line, expected) in [
        ("apply", true),
        ("apply --enroll --overwrite --wait", true),
        ("apply --enroll-namespace -w --class ambit-waypoint", true),
        ("apply --for everything", false),
        ("apply --class istio", false),
        ("list -A", true),
        ("list -A -n shop", false),
        ("status edge -n shop", true),
        ("delete a b", true),
        ("delete --all", true),
        ("delete", false),
        ("delete a --all", false),
    ] {
        assert_eq!(parse(line).is_some(), expected, "{line}");
    }
}

fn gateway(class: &str, status: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "edge", "namespace": "shop", "generation": 2 },
        "spec": { "gatewayClassName": class },
        "status": status,
    }))
    .unwrap()
}

fn pod(namespace: &str, status: &Value) -> Pod {
    let labels = json!({ "gateway.networking.k8s.io/gateway-name": "edge" });
    let metadata = json!({ "name": "edge-1", "namespace": namespace, "labels": labels });
    serde_json::from_value(json!({ "metadata": metadata, "status": status })).unwrap()
}

fn condition(kind: &str, status: &str, generation: i64) -> Value {
    json!({ "type": kind, "status": status, "reason": "R", "message": "m", "observedGeneration": generation })
}

#[test]
fn gateways_are_read_with_their_pods() {
    let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
    let pulling = json!({
        "conditions": [{ "type": "Ready", "status": "False" }],
        "containerStatuses": [{ "name": "waypoint", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": { "waiting": { "reason": "ErrImagePull" } } }],
    });
    let pods = [pod("shop", &ready), pod("shop", &pulling), pod("other", &ready)];
    let status = json!({ "conditions": [
        condition("Accepted", "True", 2), condition("Programmed", "False", 2),
    ] });
    let waypoint = Waypoint::read(&gateway("istio-waypoint", &status), &pods).unwrap();
    assert_eq!((waypoint.programmed(), &*waypoint.pods_ready()), ("False", "1/2"));
    assert_eq!(waypoint.pods[1].obstacle.as_deref(), Some("ErrImagePull"));
    assert_eq!(waypoint.traffic, "service");
    let text = table(&[waypoint]);
    let words =
        |line: usize| text.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(words(0), ["NAMESPACE", "NAME", "FOR", "PROGRAMMED", "PODS", "READY"]);
    assert_eq!(words(1), ["shop", "edge", "service", "False", "1/2"]);

    let stale = json!({ "conditions": [condition("Programmed", "True", 1)] });
    let waypoint = Waypoint::read(&gateway("ambit-waypoint", &stale), &[]).unwrap();
    assert_eq!(waypoint.programmed(), "Unknown", "said of an earlier content");
    assert_eq!(Waypoint::read(&gateway("istio", &status), &pods), None);
}

#[test]
fn verdicts_name_the_cause() {
    let said = |holds| Some(Condition { holds, reason: "R".to_owned(), message: "m".to_owned() });
    let pod = |ready, obstacle: Option<&str>| PodState {
        name: "edge-1".to_owned(),
        ready,
        obstacle: obstacle.map(str::to_owned),
    };
    let table = [
        (None, None, vec![], "no controller has looked"),
        (said(false), said(false), vec![pod(true, None)], "does not accept it (R): m"),
        (said(true), said(false), vec![], "it has no pods"),
        (
            said(true),
            said(false),
            vec![pod(false, Some("ErrImagePull"))],
            "does not run: ErrImagePull",
        ),
        (said(true), None, vec![pod(false, None)], "is not ready; its log says why"),
        (said(true), said(false), vec![pod(true, None)], "is not programmed (R): m"),
        (said(true), said(true), vec![pod(true, None)], "works"),
        (said(true), said(true), vec![pod(true, None), pod(false, None)], "works"),
        (said(true), said(true), vec![pod(false, None)], "is not ready"),
    ];
    for (accepted, programmed, pods, expected) in table {
        let waypoint = Waypoint { accepted, programmed, pods, ..Waypoint::default() };
        let text = verdict::verdict(&waypoint).to_string();
        assert!(text.contains(expected), "{waypoint:?}: {text}");
        assert_eq!(text.lines().count(), 1);
    }
}
