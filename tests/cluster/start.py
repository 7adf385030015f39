"""Starts the parts of a cluster and waits until each is of use."""

import json
from concurrent.futures import ThreadPoolExecutor

import api
import control_files
import machine
import node_files
import pki
from layout import BUILT, CONTROL, DOMAIN, HERE
from shell import Failed, eventually, run, tell

# A busy machine of two cores takes thirty seconds where a quiet one takes ten.
PATIENCE = 120


def control(layout):
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


def nodes(layout, numbers, options):
    """Starts nodes beside those that there are, and waits until they are Ready."""
    if options.netpol:
        api.kubectl(layout, "apply", "-f", HERE / "manifests/netpol.yaml")
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


def again(layout, name):
    """Starts a machine that has been stopped; it has its files of before."""
    for mark in ("pid", "connected"):
        (layout.machine(name) / mark).unlink()
    address = layout.control_ip if name == CONTROL else layout.node_ip(int(name.removeprefix("node")))
    machine.start(layout, name, address)


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
    numbers = [number for number in layout.node_numbers() if machine.runs(layout, f"node{number}")]
    pods = {number: f"route replace {layout.pods(number)} via {layout.node_ip(number)}\n" for number in numbers}
    services = f"route replace {layout.services} via {layout.node_ip(1)}\n" if 1 in numbers else ""
    outside = "".join(pods.values()) + services
    run("ip", "-batch", "-", text=outside)
    if machine.runs(layout, CONTROL):
        machine.in_network(layout, CONTROL, "ip", "-batch", "-", text=outside)
    for number in numbers:
        others = "".join(route for other, route in pods.items() if other != number)
        machine.in_network(layout, f"node{number}", "ip", "-batch", "-", text=others)


def dns(layout):
    """CoreDNS, as a Deployment."""
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
        what = f"import of images on node{number}"
        eventually(PATIENCE, what, lambda: imported(directory), f"see {directory}/import.log")
    tell("every node has every image")


def imported(directory):
    if (directory / "images.failed").exists():
        raise Failed(f"an image could not be imported: see {directory}/import.log")
    return (directory / "images.imported").exists()
