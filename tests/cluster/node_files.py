"""The files of a node: containerd, CNI, kubelet, kube-proxy, and what starts them."""

import json
import shutil
from pathlib import Path

import pki
from control_files import assignments
from layout import BUILT, DOMAIN

CNI_PLUGINS = Path("/usr/lib/cni")
SOCKET = "/run/containerd/containerd.sock"

# Where a node has its own directories, so that two nodes and the host do not meet.
PLACES = (
    "/etc/cni",
    "/opt/cni",
    "/var/lib/ambit",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)

CONTAINERD = f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "ambit.test/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
"""

# Images that were imported cannot be pulled again, so none is ever collected.
KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {pki}/ca.crt}}
authorization: {{mode: Webhook}}
tlsCertFile: {pki}/{name}.crt
tlsPrivateKeyFile: {pki}/{name}.key
containerRuntimeEndpoint: unix://{socket}
clusterDNS: [{dns}]
clusterDomain: {domain}
resolvConf: {directory}/resolv.conf
cgroupDriver: cgroupfs
cgroupsPerQOS: true
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
maxPods: 200
serializeImagePulls: false
imageGCHighThresholdPercent: 100
imageMinimumGCAge: 1000h
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}}
syncFrequency: 10s
nodeStatusUpdateFrequency: 5s
"""

# The machine's limit of connections cannot be changed from a node's network namespace.
KUBE_PROXY = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {mode}
clientConnection: {{kubeconfig: {directory}/kube-proxy.kubeconfig}}
hostnameOverride: {name}
clusterCIDR: {pods}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
nftables: {{minSyncPeriod: 100ms, syncPeriod: 30s}}
iptables: {{minSyncPeriod: 100ms, syncPeriod: 30s}}
"""

# A node is ready with the first images, those of pause and CoreDNS; the others follow. Agents of a mesh find the kubelet
# by the name of its process. It gives up where containerd has only just started; systemd would start it again, too.
START = """\
containerd -c containerd.toml >containerd.log 2>&1 &
until [ -S "$SOCKET" ]; do sleep 0.05; done
import() {
  for archive in "$@"; do ctr -a "$SOCKET" -n k8s.io images import "$archive" || return; done >>import.log 2>&1
}
[ -e images.imported ] || import "$IMAGES"/first/*.tar || touch images.failed
ln -sf "$KUBEBOX" /run/kubelet
while :; do
  /run/kubelet --config kubelet.yaml --kubeconfig kubelet.kubeconfig --node-ip "$ADDRESS" --hostname-override "$NAME" || sleep 0.2
done >>kubelet.log 2>&1 &
"$KUBEBOX" kube-proxy --config kube-proxy.yaml >kube-proxy.log 2>&1 &
if [ "$NETPOL" ]; then "$NETPOL" --kubeconfig netpol.kubeconfig --node "$NAME" >netpol.log 2>&1 & fi
[ -e images.imported ] || (import "$IMAGES"/*.tar && touch images.imported || touch images.failed) &
"""


def write(layout, number, proxy_mode, with_netpol):
    """Writes them into the node's directory."""
    name, address = f"node{number}", layout.node_ip(number)
    directory = layout.machine(name)
    directory.mkdir(parents=True)
    pki.sign_node(layout, name, address)
    pki.write_kubeconfig(layout, directory / "kubelet.kubeconfig", name)
    for component in ("kube-proxy", "netpol"):
        pki.write_kubeconfig(layout, directory / f"{component}.kubeconfig", component)
    write_cni(layout, number, directory / "root")
    values = {"name": name, "directory": directory, "pki": layout.pki, "dns": layout.dns_ip, "domain": DOMAIN}
    (directory / "kubelet.yaml").write_text(KUBELET.format(socket=SOCKET, **values))
    (directory / "kube-proxy.yaml").write_text(KUBE_PROXY.format(mode=proxy_mode, pods=layout.all_pods, **values))
    (directory / "containerd.toml").write_text(CONTAINERD)
    (directory / "resolv.conf").write_text(f"nameserver {layout.control_ip}\n")
    (directory / "places").write_text("".join(f"{place}\n" for place in PLACES))
    settings = {
        "NAME": name,
        "ADDRESS": address,
        "SOCKET": SOCKET,
        "KUBEBOX": BUILT / "kubebox",
        "NETPOL": BUILT / "netpol" if with_netpol else "",
        "IMAGES": BUILT / "images",
    }
    (directory / "start.sh").write_text(assignments(settings) + START)


def write_cni(layout, number, root):
    """Pods get a routed interface and keep their address wherever a packet goes."""
    plugins, configuration = root / "opt/cni/bin", root / "etc/cni/net.d"
    plugins.mkdir(parents=True)
    configuration.mkdir(parents=True)
    for plugin in ("ptp", "host-local", "portmap", "loopback"):
        shutil.copy2(CNI_PLUGINS / plugin, plugins)
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": layout.pods(number)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    network = {
        "cniVersion": "0.4.0",
        "name": "cluster",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "mtu": 1500, "ipam": addresses},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    (configuration / "10-cluster.conflist").write_text(json.dumps(network, indent=1) + "\n")
