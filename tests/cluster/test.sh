#!/bin/sh
# Starts a cluster, runs the tests of the topic `cluster` in it, and removes it.
# What this machine cannot run is counted in SKIPPED; with CI=true it fails.
set -eu
cd "$(dirname "$0")/../.."
SKIPPED=target/cluster/skipped
mkdir -p target/cluster
rm -f "$SKIPPED"

reason=
[ -e /sys/fs/cgroup/pids/cgroup.procs ] || reason='control groups of version 1 are not mounted'
command -v go >/dev/null || reason='Go is not installed'
[ "$(id -u)" = 0 ] || reason='they need root'
if [ "$reason" ]; then
  [ "${CI:-}" != true ] || { echo "error: no cluster tests: $reason" >&2; exit 1; }
  echo "$(cat tests/tests/cluster/*.rs | grep -c 'needs a cluster') cluster tests were skipped: $reason" | tee "$SKIPPED"
  exit 0
fi

export CLUSTER_INDEX="${CLUSTER_INDEX:-9}" CLUSTER_NETPOL=1
${MAKE:-make} --no-print-directory cluster
eval "$(tests/cluster/cluster.py env | tail -1)"
status=0
cargo test --workspace --locked --test all "cluster::${1:-}" -- --ignored || status=$?
if [ $status != 0 ]; then
  for pod in $(kubectl get pods -n istio-system -o name); do
    echo "--- $pod"
    kubectl logs -n istio-system "$pod" --tail=40 || true
  done
fi
tests/cluster/cluster.py down
exit $status
