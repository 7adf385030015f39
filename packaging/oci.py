"""Writes OCI image archives without a container tool, the same bytes for the same files."""

import gzip
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import tarfile
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NONROOT = 65532
PASSWD = f"root:x:0:0::/root:/bin/sh\nnonroot:x:{NONROOT}:{NONROOT}::/tmp:/bin/sh\n"
GROUP = f"root:x:0:\nnonroot:x:{NONROOT}:\n"


class Image:
    """The files of an image with one layer, laid out as Debian does: /bin, /lib and /sbin are links into /usr."""

    def __init__(self):
        self.entries = {}
        self.directory("tmp", 0o1777)
        for name in ("bin", "sbin", "lib", "lib64"):
            self.directory(f"usr/{name}")
            self.link(name, f"usr/{name}")
        self.file("etc/passwd", PASSWD)
        self.file("etc/group", GROUP)
        self.file("etc/nsswitch.conf", "hosts: files dns\n")

    def directory(self, path, mode=0o755):
        """A directory, and those above it."""
        path = path.strip("/")
        if path and path not in self.entries:
            self.directory(os.path.dirname(path))
            self.entries[path] = (tarfile.DIRTYPE, mode, b"")

    def file(self, path, content, mode=0o644):
        """A file with this content: text, or the path of a file to copy."""
        path = merged(path)
        self.directory(os.path.dirname(path))
        data = content.read_bytes() if isinstance(content, Path) else content.encode()
        self.entries[path] = (tarfile.REGTYPE, mode, data)

    def link(self, path, target):
        """A symbolic link."""
        path = path.strip("/")
        self.directory(os.path.dirname(path))
        self.entries[path] = (tarfile.SYMTYPE, 0o777, target.encode())

    def program(self, source, path=None):
        """An executable or a plugin, with the shared libraries that it is linked with."""
        source = Path(source)
        self.file(str(path or source), source, 0o755)
        for library in libraries(source):
            self.file(library, Path(library), 0o755)

    def layer(self):
        """The only layer, as a tar archive."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(self.entries, key=lambda path: path.split("/")):
                kind, mode, data = self.entries[path]
                info = tarfile.TarInfo(path)
                info.type, info.mode = kind, mode
                if kind == tarfile.SYMTYPE:
                    info.linkname = data.decode()
                else:
                    info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return buffer.getvalue()

    def write(self, archive, reference, config, compress):
        """Writes the archive that `ctr images import` and `skopeo` read; returns its size in bytes.

        `config` is the image's configuration (Entrypoint, Cmd, User, Labels). Without `compress` the layer is a plain
        tar, which is larger and faster to import.
        """
        layer = self.layer()
        packed = gzip.compress(layer, 9, mtime=0) if compress else layer
        blobs = {}
        media = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if compress else "")
        layers = [describe(blobs, media, packed)]
        settings = {
            "created": "1970-01-01T00:00:00Z",
            "architecture": architecture(),
            "os": "linux",
            "config": {"Env": [SEARCH_PATH], **config},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": describe(blobs, "application/vnd.oci.image.config.v1+json", encode(settings)),
            "layers": layers,
        }
        named = describe(blobs, manifest["mediaType"], encode(manifest))
        named["annotations"] = {
            "io.containerd.image.name": reference,
            "org.opencontainers.image.ref.name": reference,
        }
        return write_layout(Path(archive), {"schemaVersion": 2, "manifests": [named]}, blobs)


def write_layout(archive, index, blobs):
    """The image layout as one tar file, complete or not there at all."""
    files = {"oci-layout": encode({"imageLayoutVersion": "1.0.0"}), "index.json": encode(index)}
    files.update({f"blobs/sha256/{name}": blobs[name] for name in sorted(blobs)})
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(f".{archive.name}.partial")
    with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as output:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            output.addfile(info, io.BytesIO(data))
    partial.rename(archive)
    return archive.stat().st_size


def describe(blobs, media_type, data):
    """Keeps a blob and returns its descriptor."""
    blobs[digest(data).removeprefix("sha256:")] = data
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def encode(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def architecture():
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def merged(path):
    """The path in a file system where /bin, /sbin, /lib and /lib64 are links into /usr."""
    path = path.strip("/")
    return f"usr/{path}" if path.split("/")[0] in ("bin", "sbin", "lib", "lib64") else path


def libraries(program):
    """The shared libraries of a program, the dynamic linker among them; none if it is static."""
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    missing = re.findall(r"(\S+) => not found", listed.stdout)
    if missing:
        raise FileNotFoundError(f"{program} needs shared libraries that are not here: {', '.join(missing)}")
    return re.findall(r"(/\S+) \(0x", listed.stdout)
