#!/bin/bash
# PID 1 of a machine of the cluster, in new namespaces: NAME, and its DIRECTORY on the host.
set -eu
name=$1 directory=$2

# /proc is still the host's, and says how the host calls this process.
read -r pid _ </proc/self/stat
mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys # whose /sys/class/net is this machine's
hostname "$name"

# Each mount shows the control groups of this machine only.
mount -t tmpfs cgroup /sys/fs/cgroup
for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
  mkdir "/sys/fs/cgroup/$controller"
  mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
done
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd

mount -t bpf bpf /sys/fs/bpf 2>/dev/null || true
mount -t tmpfs run /run
mkdir -p /run/netns /run/containerd /run/xtables /run/lock
while read -r place; do
  mkdir -p "$directory/root$place"
  mount --bind "$directory/root$place" "$place"
done <"$directory/places"
# Last: mounts spread within the machine, as pods with mountPropagation need it, and not to the host.
mount --make-rshared /
ip link set lo up

echo "$pid" >"$directory/pid.new"
mv "$directory/pid.new" "$directory/pid"
until [ -e "$directory/connected" ]; do sleep 0.02; done

cd "$directory"
# shellcheck disable=SC1091
. ./start.sh
# Orphans of this machine become children of PID 1.
trap 'exit 0' TERM INT
while :; do wait -n || sleep 1; done
