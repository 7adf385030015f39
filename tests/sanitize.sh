#!/bin/sh
# The unsafe parts, all in ambit-net: what needs no kernel under Miri, everything under AddressSanitizer.
set -eu
cd "$(dirname "$0")/.."
if ! cargo +nightly miri --version >/dev/null 2>&1; then
  echo "sanitize: skipped, as Miri is not installed: rustup toolchain install nightly --profile minimal --component miri,rust-src"
  exit 0
fi
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/sanitize"
cargo +nightly miri test --locked -p ambit-net --lib without_a_kernel
target=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-Zsanitizer=address" cargo +nightly test --locked -p ambit-net --lib --target "$target"
