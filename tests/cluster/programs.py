"""The programs of a cluster, and of other tests, that are built from Go modules."""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import stamp
from layout import BUILT, HERE
from shell import run

# Also in kubebox/go.mod. Clients read it from what nodes report.
KUBERNETES = "1.35.0"
VERSION = "k8s.io/component-base/version"
MAJOR, MINOR, _ = KUBERNETES.split(".")
KUBEBOX_FLAGS = f"-X {VERSION}.gitVersion=v{KUBERNETES} -X {VERSION}.gitMajor={MAJOR} -X {VERSION}.gitMinor={MINOR}"
LEAST_GO = (1, 25)


@dataclass(frozen=True)
class Program:
    """One program: the directory of its module here, what to tell those who wait, and what Go is asked for."""

    module: str
    duration: str
    package: str = "."
    flags: str = ""
    command: tuple = ("build",)

    def settings(self):
        """What it depends on beside the files of its module."""
        return (self.flags,) if self.package == "." else (self.flags, self.package)


# What every cluster is made of.
CLUSTER = {
    "coredns": Program("coredns", "two minutes on two cores, once"),
    "netpol": Program("netpol", "a minute on two cores, once"),
    "kubebox": Program("kubebox", "six minutes on two cores, once", flags=KUBEBOX_FLAGS),
}
# The conformance suite of the Gateway API, and the servers and the client that its manifests name.
GATEWAY = "sigs.k8s.io/gateway-api"
ECHO = "istio.io/istio/pkg/test/echo/cmd"
CONFORMANCE = {
    "gateway-suite": Program("conformance", "a minute on two cores, once", command=("test", "-c")),
    "echo-basic": Program("conformance", "seconds", f"{GATEWAY}/conformance/echo-basic"),
    "mesh-server": Program("conformance/echo", "two minutes on two cores, once", f"{ECHO}/server"),
    "mesh-client": Program("conformance/echo", "seconds", f"{ECHO}/client"),
}
# What tests without a cluster send through the mesh: HTTP/2's and gRPC's own tests, and a collector of spans.
FOREIGN = {
    "h2spec": Program("../foreign/h2spec", "seconds", "github.com/summerwind/h2spec/cmd/h2spec"),
    "grpc-client": Program("../foreign/grpc", "a minute on two cores, once", "google.golang.org/grpc/interop/client"),
    "grpc-server": Program("../foreign/grpc", "seconds", "google.golang.org/grpc/interop/server"),
    "grpcurl": Program("../foreign/grpc", "seconds", "github.com/fullstorydev/grpcurl/cmd/grpcurl"),
    "jaeger": Program("../foreign/jaeger", "four minutes on two cores, once", "github.com/jaegertracing/jaeger/cmd/all-in-one"),
}
PROGRAMS = CLUSTER | CONFORMANCE | FOREIGN

# Only the tests of the manifests need it, so it is built for those: `cluster.py helm`.
HELM = "helm.sh/helm/v3/cmd/helm@v3.18.6"

# Where they are kept for other checkouts, under names that change with what they are made of.
KEPT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ambit"


def build(*names):
    """Builds what is missing or out of date, of these programs or of those that every cluster has."""
    BUILT.mkdir(parents=True, exist_ok=True)
    for name in names or CLUSTER:
        program = PROGRAMS[name]
        output, module = BUILT / name, HERE / program.module
        sources = [file for file in module.iterdir() if file.suffix in (".go", ".mod", ".sum")]
        key = stamp.of_contents(sources, *program.settings())
        if stamp.fresh(output, key):
            continue
        kept = KEPT / f"{name}-{key[:16]}"
        if not kept.exists():
            compile_module(program, output)
            keep(output, kept)
        shutil.copy2(kept, f"{output}.new")
        os.rename(f"{output}.new", output)
        stamp.record(output, key)


def keep(program, kept):
    """Puts a program where other checkouts find it."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    for old in kept.parent.glob(f"{program.name}-*"):
        old.unlink()
    shutil.copy2(program, f"{kept}.new")
    os.rename(f"{kept}.new", kept)


def build_helm():
    """Builds Helm where it is missing or of another version, and returns its path."""
    output, new = BUILT / "helm", BUILT / "helm.new"
    key = stamp.of_contents([], HELM)
    if not stamp.fresh(output, key):
        command = ["go", "install", "-trimpath", "-ldflags", "-s -w", HELM]
        run_go(command, output, BUILT, "two minutes on two cores, once", GOBIN=str(new))
        os.rename(new / "helm", output)
        new.rmdir()
        stamp.record(output, key)
    return output


def compile_module(program, output):
    """Builds a program of a module here."""
    flags = ["-trimpath", "-ldflags", f"-s -w {program.flags}".strip(), "-o", f"{output}.new"]
    run_go(["go", *program.command, *flags, program.package], output, HERE / program.module, program.duration)
    os.rename(f"{output}.new", output)


def module_directory(module, directory):
    """Where Go keeps the source of a module that the module in `directory` requires."""
    check_go()
    listed = run("go", "-C", directory, "list", "-m", "-f", "{{.Dir}}", module).strip()
    if not listed:
        run("go", "-C", directory, "mod", "download", module)
        listed = run("go", "-C", directory, "list", "-m", "-f", "{{.Dir}}", module).strip()
    return Path(listed)


def run_go(command, output, directory, duration, **variables):
    """Runs the Go compiler, at a low priority."""
    check_go()
    output.parent.mkdir(parents=True, exist_ok=True)
    log = output.with_name(f"{output.name}.log")
    print(f"building {output.name} ({duration}; log: {log})", file=sys.stderr, flush=True)
    begun = time.monotonic()
    with open(log, "w", encoding="utf-8") as file:
        done = subprocess.run(["nice", *command], cwd=directory, env=dict(os.environ, CGO_ENABLED="0", **variables),
                              stdout=file, stderr=file, check=False)
    if done.returncode != 0:
        last = log.read_text().strip().splitlines()[-1:]
        sys.exit(f"error: {output.name} could not be built: {' '.join(last)} (all of it: {log})")
    print(f"built {output.name} in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)


def check_go():
    """The modules need a recent Go, which Debian's package may not be."""
    wanted = ".".join(map(str, LEAST_GO))
    if not shutil.which("go"):
        sys.exit(f"error: go is missing: install Go {wanted} or newer from https://go.dev/dl and put it on the PATH")
    said = subprocess.run(["go", "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    if not found or (int(found[1]), int(found[2])) < LEAST_GO:
        sys.exit(f"error: {said.strip() or 'go'} is too old: install Go {wanted} or newer from https://go.dev/dl")
