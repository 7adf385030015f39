"""The certificates and kubeconfig files of a cluster, made with openssl."""

import base64
import secrets

from layout import DOMAIN
from shell import run

DAYS = "30"


def create(layout):
    """The certificate authority, the service accounts' key, and the certificates that are not a node's."""
    pki = layout.pki
    pki.mkdir(parents=True, exist_ok=True)
    new_key(pki / "ca.key")
    run("openssl", "req", "-x509", "-new", "-key", pki / "ca.key", "-days", DAYS, "-subj", "/CN=cluster-ca",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        "-out", pki / "ca.crt")
    run("openssl", "genrsa", "-out", pki / "service-accounts.key", "2048")
    service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{DOMAIN}"]
    addresses = ["127.0.0.1", layout.control_ip, layout.api_service_ip]
    sign(layout, "apiserver", "/CN=kube-apiserver", "serverAuth", [*service, "localhost"], addresses)
    sign(layout, "apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet-client", "clientAuth")
    sign(layout, "admin", "/O=system:masters/CN=admin", "clientAuth")
    sign(layout, "netpol", "/CN=netpol", "clientAuth")
    for component in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
        sign(layout, component, f"/CN=system:{component}", "clientAuth")


def sign_node(layout, name, address):
    """A node's certificate: what its kubelet serves, and what it is known by to the API server."""
    sign(layout, name, f"/O=system:nodes/CN=system:node:{name}", "clientAuth,serverAuth", [name], [address])


def sign(layout, name, subject, usage, names=(), addresses=()):
    """A key and a certificate for it."""
    key, certificate = layout.pki / f"{name}.key", layout.pki / f"{name}.crt"
    new_key(key)
    extensions = f"keyUsage=digitalSignature\nextendedKeyUsage={usage}\n"
    alternatives = [f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses]
    if alternatives:
        extensions += f"subjectAltName={','.join(alternatives)}\n"
    extension_file = layout.pki / f"{name}.ext"
    extension_file.write_text(extensions)
    request = run("openssl", "req", "-new", "-key", key, "-subj", subject)
    run("openssl", "x509", "-req", "-CA", layout.pki / "ca.crt", "-CAkey", layout.pki / "ca.key",
        "-set_serial", f"0x{secrets.token_hex(8)}", "-days", DAYS, "-extfile", extension_file, "-out", certificate,
        text=request)
    extension_file.unlink()


def new_key(path):
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)


def write_kubeconfig(layout, path, name):
    """A kubeconfig file for the holder of a certificate."""
    def data(file):
        return base64.b64encode((layout.pki / file).read_bytes()).decode()

    path.write_text(f"""\
apiVersion: v1
kind: Config
clusters:
- name: cluster
  cluster: {{server: "{layout.api_url}", certificate-authority-data: {data("ca.crt")}}}
users:
- name: {name}
  user: {{client-certificate-data: {data(name + ".crt")}, client-key-data: {data(name + ".key")}}}
contexts:
- name: {layout.bridge}
  context: {{cluster: cluster, user: {name}}}
current-context: {layout.bridge}
""")
    path.chmod(0o600)
