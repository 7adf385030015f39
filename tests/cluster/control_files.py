"""The files of the control plane: what it starts and with which settings."""

import pki
from layout import BUILT, CONTROL, DOMAIN

# Queries leave the cluster for this server only: it knows the host, and answers NXDOMAIN for the rest at once.
COREFILE = """\
ambit.test:53 {{
  hosts {{
    {host} host.ambit.test
  }}
}}
.:53 {{
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""

START = """\
"$KUBEBOX" etcd --data-dir "$PWD/etcd" --unsafe-no-fsync --log-level error \\
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \\
  --listen-peer-urls http://127.0.0.1:2380 >etcd.log 2>&1 &
"$COREDNS" -conf Corefile >coredns.log 2>&1 &
"$KUBEBOX" kube-apiserver --etcd-servers http://127.0.0.1:2379 \\
  --secure-port 6443 --advertise-address "$ADDRESS" --service-cluster-ip-range "$SERVICES" \\
  --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" --client-ca-file "$PKI/ca.crt" \\
  --service-account-key-file "$PKI/service-accounts.key" \\
  --service-account-signing-key-file "$PKI/service-accounts.key" --service-account-issuer "$ISSUER" \\
  --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged \\
  --kubelet-preferred-address-types InternalIP --kubelet-certificate-authority "$PKI/ca.crt" \\
  --kubelet-client-certificate "$PKI/apiserver-kubelet.crt" --kubelet-client-key "$PKI/apiserver-kubelet.key" \\
  >kube-apiserver.log 2>&1 &

# The others give up when they start before the API server has made its roles.
until curl -sf --cacert "$PKI/ca.crt" --cert "$PKI/admin.crt" --key "$PKI/admin.key" \\
  "https://$ADDRESS:6443/readyz" >/dev/null; do sleep 0.1; done
start() {
  "$KUBEBOX" "$1" --leader-elect=false --kubeconfig "$1.kubeconfig" \\
    --authentication-kubeconfig "$1.kubeconfig" --authorization-kubeconfig "$1.kubeconfig" "${@:2}" >"$1.log" 2>&1 &
}
start kube-controller-manager --use-service-account-credentials --root-ca-file "$PKI/ca.crt" \\
  --service-account-private-key-file "$PKI/service-accounts.key" \\
  --cluster-signing-cert-file "$PKI/ca.crt" --cluster-signing-key-file "$PKI/ca.key"
start kube-scheduler
"""


def write(layout):
    """Writes them into the control plane's directory."""
    directory = layout.machine(CONTROL)
    directory.mkdir(parents=True)
    for component in ("kube-controller-manager", "kube-scheduler"):
        pki.write_kubeconfig(layout, directory / f"{component}.kubeconfig", component)
    (directory / "Corefile").write_text(COREFILE.format(host=layout.host_ip))
    (directory / "places").write_text("")
    settings = {
        "KUBEBOX": BUILT / "kubebox",
        "COREDNS": BUILT / "coredns",
        "PKI": layout.pki,
        "ADDRESS": layout.control_ip,
        "SERVICES": layout.services,
        "ISSUER": f"https://kubernetes.default.svc.{DOMAIN}",
    }
    (directory / "start.sh").write_text(assignments(settings) + START)


def assignments(settings):
    """Shell variables."""
    return "".join(f"{name}='{value}'\n" for name, value in settings.items())
