#!/bin/sh
# Each fuzz target for FUZZ_SECONDS, beginning with what is kept of it; without cargo-fuzz, generated inputs by the million.
set -eu
cd "$(dirname "$0")/.."
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  echo "for cargo-fuzz: rustup toolchain install nightly --profile minimal && cargo install cargo-fuzz --locked; until then, inputs of our own"
  FUZZ_INPUTS=${FUZZ_INPUTS:-1000000} exec cargo test --workspace --locked --test all fuzz:: -- --nocapture
fi
cd fuzz
# The readers are safe code, in which a sanitizer would find little and cost much.
for target in corpus/*"${FUZZ_TARGET:-}"*; do
  target=${target#corpus/}
  mkdir -p "target/corpus/$target"
  echo "== $target"
  cargo +nightly fuzz run --fuzz-dir . -s none "$target" "target/corpus/$target" "corpus/$target" -- \
    -max_total_time="${FUZZ_SECONDS:-60}" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1
done
