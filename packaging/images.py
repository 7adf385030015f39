#!/usr/bin/env python3
"""Writes the OCI images of Ambit's components from release binaries: one compressed archive each."""

import argparse
import sys
from pathlib import Path

import parts

LIMIT = 25_000_000


def main():
    arguments = parse()
    too_large = []
    for name in parts.COMPONENTS:
        if not (arguments.bin / name).exists():
            sys.exit(f"{arguments.bin / name} is missing: run `make build` first, or name the directory with --bin")
        image, config = parts.component(name, arguments.bin)
        archive = arguments.out / f"{name}-{parts.version()}.oci.tar"
        size = image.write(archive, parts.reference(name), config, compress=True)
        print(f"{parts.reference(name):32} {size / 1e6:5.1f} MB  {archive}")
        if size > LIMIT:
            too_large.append(name)
    if not (arguments.bin / "ambit-cni").exists():
        print("note: ambit-cni is not among the binaries, so the agent's image is without it")
    if too_large:
        sys.exit(f"larger than {LIMIT / 1e6:.0f} MB: {', '.join(too_large)}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=Path, default=parts.ROOT / "target/release", help="directory of the binaries")
    parser.add_argument("--out", type=Path, default=parts.ROOT / "target/images", help="directory of the archives")
    return parser.parse_args()


if __name__ == "__main__":
    main()
