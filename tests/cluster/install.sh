#!/bin/sh
# Runs at the end of `cluster.py up`, with KUBECONFIG set: puts Ambit into the cluster.
set -eu
exec "${CLUSTER_BIN:-target/debug}/ambit" install --wait 90
