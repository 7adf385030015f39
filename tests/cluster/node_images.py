"""The images that every node of a test cluster has; no registry takes part."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import stamp
from layout import BUILT, ROOT
from shell import run

sys.path.insert(0, str(ROOT / "packaging"))
import parts  # noqa: E402
from oci import Image  # noqa: E402

IMAGES = BUILT / "images"
TOOLS = {"curl": "curl", "ss": "iproute2", "conntrack": "conntrack", "tcpdump": "tcpdump"}


def build():
    """Writes the archives that are missing or out of date, and returns those."""
    binaries = Path(os.environ.get("CLUSTER_BIN") or ROOT / "target/debug").resolve()
    if not (binaries / "echo").exists():
        sys.exit(f"error: {binaries}/echo is missing: `make cluster` builds it; CLUSTER_BIN names another directory")
    busybox, coredns, echo = find_busybox(), BUILT / "coredns", binaries / "echo"
    written = [
        write("first/pause", "ambit.test/pause:1", [busybox], pause),
        write("first/coredns", "ambit.test/coredns:1", [coredns], lambda: single(coredns, "/coredns")),
        write("busybox", "ambit.test/busybox:1", [busybox], with_busybox),
        write("tools", "ambit.test/tools:1", tool_files(), tools),
        write("echo", "ambit.test/echo:1", [echo], lambda: single(echo, "/usr/local/bin/echo")),
        *(write_component(name, binaries) for name in parts.COMPONENTS),
    ]
    return [archive for archive in written if archive]


def build_conformance(references):
    """The same for the images that the manifests of the conformance suite name."""
    server, client = BUILT / "mesh-server", BUILT / "mesh-client"
    echo, coredns = BUILT / "echo-basic", BUILT / "coredns"
    makers = {
        "echo-basic": ([echo], lambda: single(echo, "/echo-basic")),
        "echo-advanced": ([server, client], lambda: echo_advanced(server, client)),
        "coredns": ([coredns], lambda: single(coredns, "/coredns")),
    }
    archives = []
    for reference in sorted(references):
        kind = reference.rsplit("/", 1)[-1].split(":")[0]
        if kind not in makers:
            sys.exit(f"error: the conformance suite wants the image {reference}, which nothing here makes")
        name = f"conformance/{reference.rsplit('/', 1)[-1].replace(':', '-')}"
        write(name, reference, *makers[kind])
        archives.append(IMAGES / f"{name}.tar")
    return archives


def echo_advanced(server, client):
    """The server of the mesh tests, with the client that they run in its pods."""
    image = Image()
    image.program(server, "/usr/local/bin/server")
    image.program(client, "/usr/local/bin/client")
    with tempfile.TemporaryDirectory() as directory:
        key, certificate = Path(directory, "key"), Path(directory, "crt")
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
            "-subj", "/CN=echo", "-addext", "subjectAltName=DNS:echo", "-keyout", key, "-out", certificate)
        image.file("cert.key", key)
        image.file("cert.crt", certificate)
    return image, {"Entrypoint": ["/usr/local/bin/server"], "User": "1338:1338"}


def write(name, reference, inputs, make):
    """Writes one archive, its layer uncompressed, and returns its path; nothing if it is up to date."""
    archive = IMAGES / f"{name}.tar"
    sources = [Path(__file__), Path(parts.__file__), ROOT / "packaging/oci.py", ROOT / "Cargo.toml"]
    key = stamp.of_times([*inputs, *sources], reference)
    if stamp.fresh(archive, key):
        return None
    image, config = make()
    image.write(archive, reference, config, compress=False)
    stamp.record(archive, key)
    return archive


def write_component(name, binaries):
    """The image of one of Ambit's components, if it was built."""
    files = [binaries / file for file in (name, *parts.COMPONENTS[name].get("beside", []))]
    if not files[0].exists():
        (IMAGES / f"{name}.tar").unlink(missing_ok=True)
        print(f"note: {files[0]} was not built, so nodes are without {parts.reference(name)}", flush=True)
        return None
    inputs = [file for file in files if file.exists()]
    return write(name, parts.reference(name), inputs, lambda: parts.component(name, binaries))


def pause():
    """What holds a pod's namespaces."""
    image = Image()
    image.program(find_busybox(), "/bin/busybox")
    image.link("usr/bin/sleep", "busybox")
    return image, {"Entrypoint": ["/bin/sleep", "2147483647"]}


def single(program, path):
    """One program."""
    image = Image()
    image.program(program, path)
    return image, {"Entrypoint": [path]}


def with_busybox():
    """A shell and its friends, each unless a real one is there."""
    image = Image()
    add_busybox(image)
    return image, {"Cmd": ["sh"]}


def tools():
    """Everything to look at a network with."""
    image = Image()
    for program, package in TOOLS.items():
        image.program(parts.find(program, package))
    parts.add_rule_programs(image)
    parts.add_root_certificates(image)
    add_busybox(image)
    return image, {"Cmd": ["sh"]}


def tool_files():
    programs = {**TOOLS, "nft": "nftables", "ip": "iproute2", "xtables-nft-multi": "iptables"}
    return [find_busybox(), *(parts.find(program, package) for program, package in programs.items())]


def add_busybox(image):
    """busybox under each of its names that no other program of the image has."""
    image.program(find_busybox(), "/bin/busybox")
    taken = {path.rsplit("/", 1)[-1] for path in image.entries}
    listed = subprocess.run([find_busybox(), "--list"], capture_output=True, text=True, check=True).stdout
    for name in listed.split():
        if name not in taken:
            image.link(f"usr/bin/{name}", "busybox")


def find_busybox():
    return parts.find("busybox", "busybox-static")
