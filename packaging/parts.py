"""What goes into an image: Ambit's components, and Debian programs with the files they load."""

import re
import sys
from pathlib import Path

from oci import NONROOT, Image

ROOT = Path(__file__).resolve().parent.parent
REGISTRY = "ambit.dev"
BINARIES = "/usr/local/bin"

# Names that one program, xtables-nft-multi, answers to.
XTABLES = [f"{family}{verb}" for family in ("iptables", "ip6tables") for verb in ("", "-save", "-restore")]

# Each image has the name of its program. The agent runs the programs that put rules into pods.
COMPONENTS = {
    "ztunnel": {},
    "waypoint": {"user": NONROOT},
    "controller": {"user": NONROOT},
    "ambit-agent": {"beside": ["ambit-cni"], "rules": True},
    "ambit": {"user": NONROOT},
}


def component(name, binaries):
    """The image of a component from the programs in the directory `binaries`, and its configuration."""
    settings = COMPONENTS[name]
    image = Image()
    image.program(binaries / name, f"{BINARIES}/{name}")
    for extra in settings.get("beside", []):
        if (binaries / extra).exists():
            image.program(binaries / extra, f"{BINARIES}/{extra}")
    if settings.get("rules"):
        add_rule_programs(image)
    add_root_certificates(image)
    image.file("usr/share/doc/ambit/LICENSE", ROOT / "LICENSE")
    labels = {"title": name, "version": version(), "licenses": "Apache-2.0"}
    config = {
        "Entrypoint": [f"{BINARIES}/{name}"],
        "Labels": {f"org.opencontainers.image.{key}": value for key, value in labels.items()},
    }
    if "user" in settings:
        config["User"] = f"{settings['user']}:{settings['user']}"
    return image, config


def reference(name):
    """The name that manifests call a component's image by."""
    return f"{REGISTRY}/{name}:{version()}"


def version():
    """The workspace's version."""
    found = re.search(r'^\[workspace\.package\]\nversion = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.M)
    if not found:
        sys.exit("Cargo.toml has no version at the top of [workspace.package]")
    return found.group(1)


def add_rule_programs(image):
    """nft, iptables and ip."""
    image.program(find("nft", "nftables"))
    image.program(find("ip", "iproute2"))
    image.program(find("xtables-nft-multi", "iptables"), "/usr/sbin/xtables-nft-multi")
    for name in XTABLES:
        image.link(f"usr/sbin/{name}", "xtables-nft-multi")
    extensions = sorted(Path("/usr/lib").glob("*/xtables/*.so"))
    if not extensions:
        sys.exit("the extensions of iptables are missing: install the package iptables")
    for extension in extensions:
        image.program(extension)


def add_root_certificates(image):
    """The certificate authorities that this machine trusts."""
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    if not bundle.exists():
        sys.exit(f"{bundle} is missing: install the package ca-certificates")
    image.file(str(bundle), bundle)


def find(program, package):
    """The path of an installed program, links resolved."""
    for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        path = Path(directory, program)
        if path.exists():
            return path.resolve() if path.is_symlink() else path
    sys.exit(f"{program} is missing: install the package {package}")
