#!/usr/bin/env python3
"""A Kubernetes cluster on this machine whose nodes are namespaces. README.md beside this file says how to use it."""

import argparse
import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import api
import control_files
import host
import layout as places
import machine
import node_files
import node_images
import pki
import programs
from layout import BUILT, CONTROL, DOMAIN, HERE
from shell import Failed, eventually, main, run

NEEDED = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "iptables": "iptables",
    "ip": "iproute2",
    "openssl": "openssl",
    "curl": "curl",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    node_files.CNI_PLUGINS / "ptp": "containernetworking-plugins",
}

# A busy machine of two cores takes thirty seconds where a quiet one takes ten.
PATIENCE = 120
BEGUN = time.monotonic()


def up(layout, options):
    """Builds what is missing and starts the cluster."""
    check_machine()
    host.check_free(layout)
    programs.build()
    node_images.build()
    layout.state.mkdir(parents=True)
    with locked(layout):
        host.claim(layout)
        machine.join_starters(layout)
        start_control(layout)
        if options.netpol:
            api.kubectl(layout, "apply", "-f", HERE / "manifests/netpol.yaml")
        start_nodes(layout, range(1, options.nodes + 1), options)
        start_dns(layout)
        wait_for_images(layout)
        install(layout)
    environment(layout, options)


def check_machine():
    """Says what is missing before anything is changed."""
    if os.geteuid() != 0:
        raise Failed("nodes are namespaces with interfaces and mounts, which takes root: try again with sudo")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for program, package in NEEDED.items():
        if not shutil.which(str(program)):
            raise Failed(f"{program} is missing: install the package {package}")
    machine.check_cgroups()


def start_control(layout):
    """etcd, the API server and what goes with it."""
    pki.create(layout)
    pki.write_kubeconfig(layout, layout.kubeconfig, "admin")
    layout.programs.mkdir()
    (layout.programs / "kubectl").symlink_to(BUILT / "kubebox")
    control_files.write(layout)
    machine.start(layout, CONTROL, layout.control_ip)
    log = layout.machine(CONTROL) / "kube-apiserver.log"
    eventually(PATIENCE, "start of the API server", lambda: api.get(layout, "/readyz") == "ok", f"see {log}")
    tell("the API server answers")


def start_nodes(layout, numbers, options):
    """Starts nodes beside those that there are, and waits until they are Ready."""
    objects = [node_object(layout, number) for number in numbers]
    api.kubectl(layout, "apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda number: start_node(layout, number, options), numbers))
    add_routes(layout)
    wanted = {f"node{number}" for number in numbers}
    eventually(
        PATIENCE,
        f"readiness of {', '.join(sorted(wanted))}",
        lambda: wanted <= api.conditions(layout, "/api/v1/nodes", "Ready"),
        f"see kubelet.log in {layout.state}/node*",
    )
    tell(f"{', '.join(sorted(wanted))} Ready")


def start_node(layout, number, options):
    node_files.write(layout, number, options.proxy_mode, options.netpol)
    machine.start(layout, f"node{number}", layout.node_ip(number))


def node_object(layout, number):
    """Made ahead of its kubelet, which adopts it and so gets its pods' addresses without a cloud."""
    labels = {"topology.kubernetes.io/region": "r1", "topology.kubernetes.io/zone": f"z{number}"}
    addresses = layout.pods(number)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node{number}", "labels": labels},
        "spec": {"podCIDR": addresses, "podCIDRs": [addresses]},
    }


def add_routes(layout):
    """Every machine reaches each node's pods; Services are reached through node1's kube-proxy from outside of nodes."""
    numbers = layout.node_numbers()
    pods = {number: f"route replace {layout.pods(number)} via {layout.node_ip(number)}\n" for number in numbers}
    services = f"route replace {layout.services} via {layout.node_ip(1)}\n" if 1 in numbers else ""
    outside = "".join(pods.values()) + services
    run("ip", "-batch", "-", text=outside)
    machine.in_network(layout, CONTROL, "ip", "-batch", "-", text=outside)
    for number in numbers:
        others = "".join(route for other, route in pods.items() if other != number)
        machine.in_network(layout, f"node{number}", "ip", "-batch", "-", text=others)


def start_dns(layout):
    manifest = (HERE / "manifests/coredns.yaml").read_text()
    manifest = manifest.replace("@DNS@", layout.dns_ip).replace("@DOMAIN@", DOMAIN)
    api.kubectl(layout, "apply", "-f", "-", text=manifest)
    deployments = "/apis/apps/v1/namespaces/kube-system/deployments"
    eventually(PATIENCE, "start of DNS", lambda: "coredns" in api.conditions(layout, deployments, "Available"))
    tell("DNS answers")


def wait_for_images(layout):
    """Until every node has every image."""
    for number in layout.node_numbers():
        directory = layout.machine(f"node{number}")
        eventually(PATIENCE, f"import of images on node{number}", lambda: imported(directory), f"see {directory}/import.log")
    tell("every node has every image")


def imported(directory):
    if (directory / "images.failed").exists():
        raise Failed(f"an image could not be imported: see {directory}/import.log")
    return (directory / "images.imported").exists()


def install(layout):
    """Whatever should run in a new cluster."""
    hook = HERE / "install.sh"
    if hook.exists():
        path = f"{layout.programs}:{os.environ['PATH']}"
        done = subprocess.run([hook], env=dict(os.environ, KUBECONFIG=str(layout.kubeconfig), PATH=path), check=False)
        if done.returncode != 0:
            raise Failed(f"{hook} failed; the cluster is still there: KUBECONFIG={layout.kubeconfig}")


def environment(layout, _options):
    """Prints what makes a shell use the cluster."""
    print(f"export KUBECONFIG={shlex.quote(str(layout.kubeconfig))} PATH={shlex.quote(str(layout.programs))}:$PATH")


def down(layout, _options):
    """Removes the cluster, also one that never came up."""
    owner = host.owner_of(layout)
    if owner and owner != str(layout.state):
        raise Failed(f"cluster {layout.index} belongs to {owner}: remove it with CLUSTER_DIR={owner}")
    if owner is None and not layout.state.exists():
        print(f"there is no cluster {layout.index}")
        return
    layout.state.mkdir(parents=True, exist_ok=True)
    with locked(layout):
        machine.remove(layout)
        host.release(layout)
        machine.remove_files(layout.state)
    tell(f"cluster {layout.index} is gone")


def add_node(layout, options):
    """Adds a node to a running cluster."""
    with locked(layout):
        machine.join_starters(layout)
        start_nodes(layout, [options.number], options)
        wait_for_images(layout)


def delete_node(layout, options):
    """Loses a node, with everything on it, at once."""
    name = f"node{options.number}"
    machine.pid(layout, name)
    with locked(layout):
        machine.remove(layout, name)
        machine.remove_files(layout.machine(name))
    api.kubectl(layout, "delete", "node", name, "--wait=false")


def refresh(layout, _options):
    """Makes the images of programs that were built anew, and imports them on every node."""
    written = node_images.build()
    load_archives(layout, written)
    for archive in written:
        tell(f"imported {archive.stem}")


def load(layout, options):
    """Imports image archives on every node."""
    load_archives(layout, options.archive)


def load_archives(layout, archives):
    for number in layout.node_numbers():
        for archive in archives:
            command = ["ctr", "-a", node_files.SOCKET, "-n", "k8s.io", "images", "import", archive.resolve()]
            run(*machine.inside(layout, f"node{number}", *command))


def enter(layout, options):
    """Becomes a program inside of a node."""
    command = machine.inside(layout, options.machine, *(options.command or ["bash"]))
    os.execvp(command[0], command)


@contextmanager
def locked(layout):
    """One command at a time works on a cluster."""
    with open(layout.state / "lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another command is at work on the cluster in {layout.state}") from None
        yield


def tell(message):
    print(f"{time.monotonic() - BEGUN:5.1f} s  {message}", flush=True)


def node_count(text):
    if not text.isdigit() or not 1 <= int(text) <= 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 20")
    return int(text)


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name, function):
        added = commands.add_parser(name, help=function.__doc__)
        added.set_defaults(function=function)
        return added

    def settings(added):
        added.add_argument("--netpol", action="store_true", default=os.environ.get("CLUSTER_NETPOL", "") not in ("", "0"),
                           help="enforce NetworkPolicy; or CLUSTER_NETPOL=1")
        added.add_argument("--proxy-mode", choices=["nftables", "iptables"],
                           default=os.environ.get("CLUSTER_PROXY_MODE") or "nftables", help="or CLUSTER_PROXY_MODE")

    starts = command("up", up)
    starts.add_argument("--nodes", type=node_count,
                        default=os.environ.get("CLUSTER_NODES") or "2", help="or CLUSTER_NODES")
    settings(starts)
    command("down", down)
    command("env", environment)
    adds = command("add-node", add_node)
    adds.add_argument("number", type=int)
    settings(adds)
    command("delete-node", delete_node).add_argument("number", type=int)
    command("refresh", refresh)
    command("load", load).add_argument("archive", type=Path, nargs="+")
    enters = command("enter", enter)
    enters.add_argument("machine", help="node1, node2, … or control")
    enters.add_argument("command", nargs=argparse.REMAINDER)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    main(lambda: arguments.function(places.from_environment(), arguments))
