#!/usr/bin/env python3
"""Runs the conformance suite of the Gateway API on the running cluster that CLUSTER_INDEX chooses.

    tests/cluster/conformance.py [mesh] [gateway] [FLAG]...

Without a flag the reports are written to conformance/ beside this file. Flags, such as -run-test=MeshTrafficSplit, are the suite's
own; with any, what the suite starts before its tests stays, so that the next run begins at once.
"""

import os
import re
import subprocess
import sys

import api
import cluster
import layout as places
import node_images
import programs
from layout import BUILT, HERE
from shell import Failed, eventually, main, tell

MODULE = HERE / "conformance"
MANIFESTS = HERE / "manifests"
CLASS = "ambit"
ROUTE_KINDS = ("httproutes", "grpcroutes", "tcproutes", "tlsroutes")
NAMESPACES = ("infra", "mesh", "mesh-consumer", "app-backend", "web-backend")

# Extended features that are claimed of both.
ROUTES = """
HTTPRoute303RedirectStatusCode HTTPRoute307RedirectStatusCode HTTPRoute308RedirectStatusCode
HTTPRouteParentRefPort HTTPRouteResponseHeaderModification
"""
MESH = """
Mesh MeshClusterIPMatching MeshConsumerRoute MeshHTTPRouteBackendRequestHeaderModification MeshHTTPRouteNamedRouteRule
MeshHTTPRouteQueryParamMatching MeshHTTPRouteRedirectPath MeshHTTPRouteRedirectPort MeshHTTPRouteRewritePath
MeshHTTPRouteSchemeRedirect
"""
GATEWAY = """
BackendTLSPolicy BackendTLSPolicySANValidation
Gateway GatewayAddressEmpty GatewayBackendClientCertificate GatewayFrontendClientCertificateValidation
GatewayFrontendClientCertificateValidationInsecureFallback GatewayHTTPListenerIsolation GatewayHTTPSListenerDetectMisdirectedRequests
GatewayInfrastructurePropagation GatewayPort8080 ListenerSet
GRPCRouteNamedRouteRule TLSRouteModeMixed TLSRouteModeTerminate
HTTPRouteBackendProtocolH2C HTTPRouteBackendProtocolWebSocket HTTPRouteBackendRequestHeaderModification
HTTPRouteBackendTimeout HTTPRouteCORS HTTPRouteDestinationPortMatching HTTPRouteHostRewrite HTTPRouteMethodMatching
HTTPRouteNamedRouteRule HTTPRoutePathRedirect HTTPRoutePathRewrite HTTPRoutePortRedirect HTTPRouteQueryParamMatching
HTTPRouteRequestMirror HTTPRouteRequestMultipleMirrors HTTPRouteRequestPercentageMirror HTTPRouteRequestTimeout
HTTPRouteRetry HTTPRouteSchemeRedirect
"""

# Which profiles are run together, and whether namespaces are enrolled.
GROUPS = {
    "mesh": {
        "conformance-profiles": "MESH-HTTP,MESH-GRPC",
        "namespace-labels": "istio.io/dataplane-mode=ambient,istio.io/use-waypoint=waypoint",
        "supported-features": ",".join((ROUTES + MESH).split()),
    },
    "gateway": {
        "conformance-profiles": "GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS,GATEWAY-TCP",
        "gateway-class": CLASS,
        "supported-features": ",".join((ROUTES + GATEWAY).split()),
    },
}
# The suite wants all of these.
HOME = "https://ambit.dev"
WHO = {"organization": "ambit", "project": "ambit", "url": HOME, "contact": HOME}


def run(groups, flags):
    """Prepares the cluster and runs the suite once for each group; fails where a test has failed."""
    layout = places.from_environment()
    if api.get(layout, "/readyz") != "ok":
        raise Failed(f"cluster {layout.index} does not run: `make cluster` starts it, `make conformance` does everything")
    prepare(layout)
    failed = {group: names for group in groups if (names := run_group(layout, group, flags))}
    for group, names in failed.items():
        print(f"{group}: {len(names)} failed: {' '.join(names)}")
    if failed:
        raise Failed("not every test has passed")


def prepare(layout):
    """Images on the nodes, the custom resources, and what a user of this cluster would say about Gateways."""
    with cluster.building():
        programs.build(*programs.CONFORMANCE)
        suite = programs.module_directory(f"{programs.GATEWAY}/conformance", MODULE)
        resources = programs.module_directory(programs.GATEWAY, MODULE) / "config/crd/experimental"
        wanted = node_images.build_conformance(images_of(suite))
    present = layout.state / "conformance.images"
    stamps = "".join(f"{archive} {archive.stat().st_mtime_ns}\n" for archive in wanted)
    if not present.exists() or present.read_text() != stamps:
        cluster.load_archives(layout, wanted)
        present.write_text(stamps)
    files = [word for file in resources.glob("gateway*.yaml") for word in ("-f", file)]
    api.kubectl(layout, "apply", "--server-side", *files)
    api.kubectl(layout, "apply", "-f", MANIFESTS / "conformance.yaml")
    classes = "/apis/gateway.networking.k8s.io/v1/gatewayclasses"
    eventually(90, "acceptance of the GatewayClass", lambda: CLASS in api.conditions(layout, classes, "Accepted"))
    # A run that was broken off may have left some.
    routes = ",".join(f"{kind}.gateway.networking.k8s.io" for kind in ROUTE_KINDS)
    for namespace in NAMESPACES:
        api.kubectl(layout, "delete", routes, "--all", "-n", f"gateway-conformance-{namespace}")
    tell("the cluster is ready for the suite")


def images_of(suite):
    """What the suite's manifests name."""
    files = [file for part in ("base", "mesh", "tests") for file in (suite / part).rglob("*.yaml")]
    return {name for file in files for name in re.findall(r"\bimage: (\S+)", file.read_text())}


def run_group(layout, group, flags):
    """Runs the suite and returns the names of the tests that failed."""
    settings = dict(GROUPS[group], **WHO, version=node_images.parts.version())
    if flags:
        settings["cleanup-base-resources"] = "false"
    else:
        settings["report-output"] = MODULE / f"report-{group}.yaml"
    words = [f"-{name}={value}" for name, value in settings.items()]
    log = BUILT / f"conformance-{group}.log"
    tell(f"{group}: {settings['conformance-profiles']} (log: {log})")
    command = [BUILT / "gateway-suite", "-test.v=test2json", "-test.timeout=60m", *words, *flags]
    environment = dict(os.environ, KUBECONFIG=str(layout.kubeconfig))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with open(log, "w", encoding="utf-8") as file, subprocess.Popen(command, env=environment, **pipes) as suite:
        results = follow(suite.stdout, file)
    return verdict(group, results, suite.returncode, log)


def follow(lines, log):
    """Keeps what the suite says, tells how each test ends, and returns that by name."""
    results = {}
    for line in lines:
        # In this form, whose lines begin with a mark, a result is told at once.
        line = line.removeprefix("\x16")
        log.write(line)
        found = re.match(r"\s*--- (PASS|FAIL|SKIP): TestConformance/([^/ ]+) \((.*)s\)", line)
        if found:
            result, name, seconds = found.groups()
            results[name] = result
            if result != "SKIP":
                tell(f"{result} {name} ({seconds} s)")
    return results


def verdict(group, results, code, log):
    """Says how many tests passed, and returns those that did not."""
    counts = {word: list(results.values()).count(word) for word in ("PASS", "FAIL", "SKIP")}
    tell(f"{group}: {counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped")
    failed = [name for name, result in results.items() if result == "FAIL"]
    if code != 0 and not failed:
        raise Failed(f"{group}: the suite ended early: see the end of {log}")
    return failed


if __name__ == "__main__":
    chosen = [word for word in sys.argv[1:] if word in GROUPS]
    given = [word for word in sys.argv[1:] if word not in GROUPS]
    unknown = [word for word in given if not word.startswith("-")]
    if unknown:
        sys.exit(f"error: {unknown[0]!r} is neither a flag of the suite nor one of {', '.join(GROUPS)}")
    main(lambda: run(chosen or list(GROUPS), given))
