"""Where a cluster's files are, and the names and addresses of its parts."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# What is built once for all clusters.
BUILT = ROOT / "target/cluster"
DOMAIN = "cluster.local"
CONTROL = "control"

# Places that each node covers with its own.
COVERED = (Path("/run"), Path("/proc"), Path("/sys"), Path("/dev"))


@dataclass(frozen=True)
class Layout:
    """One of up to ten clusters on a machine: its index is part of every name and address."""

    index: int
    state: Path

    @property
    def bridge(self):
        return f"ambit{self.index}"

    def link(self, machine):
        """The host's end of a machine's network interface; 15 characters at most."""
        return f"{self.bridge}-{machine}"

    @property
    def network(self):
        return f"172.30.{self.index}"

    @property
    def host_ip(self):
        return f"{self.network}.1"

    @property
    def control_ip(self):
        return f"{self.network}.2"

    def node_ip(self, number):
        return f"{self.network}.{10 + number}"

    @property
    def all_pods(self):
        return f"10.{240 + self.index}.0.0/16"

    def pods(self, number):
        """The addresses of a node's pods."""
        return f"10.{240 + self.index}.{number}.0/24"

    @property
    def services(self):
        return f"10.{96 + self.index}.0.0/16"

    @property
    def api_service_ip(self):
        return f"10.{96 + self.index}.0.1"

    @property
    def dns_ip(self):
        return f"10.{96 + self.index}.0.10"

    @property
    def api_url(self):
        return f"https://{self.control_ip}:6443"

    @property
    def pki(self):
        return self.state / "pki"

    @property
    def kubeconfig(self):
        return self.state / "kubeconfig"

    @property
    def programs(self):
        """Put before the PATH of whoever uses the cluster: kubectl."""
        return self.state / "bin"

    def machine(self, name):
        """The files of one machine: a node, or the control plane."""
        return self.state / name

    def node_numbers(self):
        """The nodes that were started."""
        found = self.state.glob("node*/pid")
        return sorted(int(path.parent.name.removeprefix("node")) for path in found)


def from_environment():
    """The cluster that CLUSTER_INDEX and CLUSTER_DIR choose."""
    index = os.environ.get("CLUSTER_INDEX") or "0"
    if index not in "0123456789" or len(index) != 1:
        sys.exit(f"CLUSTER_INDEX is {index!r}; it must be a digit")
    state = Path(os.environ.get("CLUSTER_DIR") or BUILT / f"run{index}").resolve()
    for place in COVERED:
        if state.is_relative_to(place):
            sys.exit(f"CLUSTER_DIR is {state}; nodes do not see the machine's {place}: choose another directory")
    return Layout(int(index), state)
