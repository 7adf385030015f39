#!/usr/bin/env python3
"""A Kubernetes cluster on this machine whose nodes are namespaces. README.md beside this file says how to use it."""

import argparse
import fcntl
import os
import shlex
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import api
import host
import layout as places
import machine
import node_files
import node_images
import programs
import start
from layout import BUILT, HERE
from shell import Failed, main, run, tell

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


def up(layout, options):
    """Builds what is missing and starts the cluster."""
    check_machine()
    host.check_free(layout)
    build()
    layout.state.mkdir(parents=True, exist_ok=True)
    with locked(layout):
        host.claim(layout)
        machine.join_starters(layout)
        start.control(layout)
        start.nodes(layout, range(1, options.nodes + 1), options)
        start.dns(layout)
        start.wait_for_images(layout)
        install(layout)
    environment(layout, options)


def build():
    """Builds what is missing; returns the images that are new."""
    with building():
        programs.build()
        return node_images.build()


def check_machine():
    """Says what is missing before anything is changed."""
    if os.geteuid() != 0:
        raise Failed("nodes are namespaces with interfaces and mounts, which takes root: try again with sudo")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for program, package in NEEDED.items():
        if not shutil.which(str(program)):
            raise Failed(f"{program} is missing: install the package {package}")
    machine.check_cgroups()


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
    kubeconfig, path = shlex.quote(str(layout.kubeconfig)), shlex.quote(str(layout.programs))
    print(f"export KUBECONFIG={kubeconfig} PATH={path}:$PATH")


def down(layout, _options):
    """Removes the cluster, also one that never came up."""
    owner = host.owner_of(layout)
    if owner and owner != str(layout.state):
        raise Failed(f"cluster {layout.index} belongs to {owner}: remove it with CLUSTER_DIR={owner}")
    if owner is None and not layout.state.exists():
        print(f"there is no cluster {layout.index}")
        return
    host.check_ours(layout)
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
        start.nodes(layout, [options.number], options)
        start.wait_for_images(layout)


def delete_node(layout, options):
    """Loses a node, with everything on it, at once."""
    name = f"node{options.number}"
    machine.pid(layout, name)
    with locked(layout):
        machine.remove(layout, name)
        machine.remove_files(layout.machine(name))
    api.kubectl(layout, "delete", "node", name, "--wait=false")


def stop(layout, options):
    """Switches machines off at once; their disks and what the API server knows of them stay."""
    with locked(layout):
        for name in options.machine:
            machine.pid(layout, name)
            machine.remove(layout, name)


def start_again(layout, options):
    """Switches machines on that were stopped."""
    with locked(layout):
        machine.join_starters(layout)
        for name in options.machine:
            start.again(layout, name)
        start.add_routes(layout)


def refresh(layout, _options):
    """Makes the images of programs that were built anew, and imports them on every node."""
    written = build()
    load_archives(layout, written)
    for archive in written:
        tell(f"imported {archive.stem}")


def helm(_layout, _options):
    """Builds Helm if it is missing, and prints its path."""
    with building():
        print(programs.build_helm())


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
def building():
    """One builds at a time; others that want the same wait."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with open(BUILT / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def locked(layout):
    """One command at a time works on a cluster."""
    with open(layout.state / "lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another command is at work on the cluster in {layout.state}") from None
        yield


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
        asked = os.environ.get("CLUSTER_NETPOL", "") not in ("", "0")
        added.add_argument("--netpol", action="store_true", default=asked,
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
    for name, function in (("stop", stop), ("start", start_again)):
        command(name, function).add_argument("machine", nargs="+", help="node1, node2, … or control")
    command("delete-node", delete_node).add_argument("number", type=int)
    command("refresh", refresh)
    command("helm", helm)
    command("load", load).add_argument("archive", type=Path, nargs="+")
    enters = command("enter", enter)
    enters.add_argument("machine", help="node1, node2, … or control")
    enters.add_argument("command", nargs=argparse.REMAINDER)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    main(lambda: arguments.function(places.from_environment(), arguments))
