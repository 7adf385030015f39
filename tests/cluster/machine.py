"""A machine of the cluster: a set of namespaces with one process as its PID 1, and an interface on the bridge."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from layout import HERE
from shell import Failed, eventually, run, try_run

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")

# Puts itself into the control groups in JOIN, then becomes its arguments.
JOIN_AND_EXEC = 'for group in $JOIN; do echo $$ > $group/cgroup.procs; done; exec "$@"'
NAMESPACES = ("--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup")


def check_cgroups():
    """Nodes are made with control groups of version 1."""
    missing = [name for name in CONTROLLERS if not (CGROUPS / name / "cgroup.procs").exists()]
    if missing:
        names = ", ".join(missing)
        raise Failed(f"no control groups of version 1 for {names} in {CGROUPS}; version 2 is not supported yet")


def start(layout, name, address):
    """Starts a machine, which then runs `start.sh` from its directory, and connects it."""
    directory = layout.machine(name)
    environment = dict(os.environ, JOIN=" ".join(map(str, make_cgroups(layout, name))))
    unshare = ["unshare", *NAMESPACES, "--fork", HERE / "machine-init.sh", name, directory]
    with open(directory / "init.log", "w", encoding="utf-8") as log:
        subprocess.Popen(["sh", "-c", JOIN_AND_EXEC, "sh", *unshare], env=environment, start_new_session=True,
                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    eventually(10, f"start of {name}", (directory / "pid").exists, f"see {directory}/init.log")
    connect(layout, name, address)
    (directory / "connected").touch()


def connect(layout, name, address):
    """An interface eth0 in the machine, on the cluster's bridge."""
    link = layout.link(name)
    run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", pid(layout, name))
    run("ip", "link", "set", link, "master", layout.bridge, "up")
    in_network(layout, name, "ip", "address", "add", f"{address}/24", "dev", "eth0")
    in_network(layout, name, "ip", "link", "set", "eth0", "up")
    in_network(layout, name, "ip", "route", "add", "default", "via", layout.host_ip)
    in_network(layout, name, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")


def pid(layout, name):
    """The process id of a machine's PID 1, as the host counts."""
    try:
        return (layout.machine(name) / "pid").read_text().strip()
    except FileNotFoundError:
        raise Failed(f"there is no {name} in {layout.state}") from None


def runs(layout, name):
    """Tells whether a machine was started and not stopped."""
    return Path("/sys/class/net", layout.link(name)).exists()


def in_network(layout, name, *command, text=None):
    """Runs a program of the host in a machine's network."""
    return run("nsenter", "-t", pid(layout, name), "-n", *command, text=text)


def inside(layout, name, *command):
    """The command that runs a program inside of a machine."""
    return ["nsenter", "-t", pid(layout, name), "-m", "-n", "-p", "-u", "-i", "-C", *map(str, command)]


def make_cgroups(layout, name):
    groups = [CGROUPS / controller / layout.link(name) for controller in CONTROLLERS]
    for group in groups:
        group.mkdir(exist_ok=True)
        if group.parent.name == "cpuset":
            # Empty until they are set, and a group without processors takes no process.
            for setting in ("cpuset.cpus", "cpuset.mems"):
                (group / setting).write_text((group.parent / setting).read_text())
            (group / "cgroup.clone_children").write_text("1")
    return groups


def join_starters(layout):
    """Puts this process, and what it will run, where `remove` finds it if it is killed half way."""
    group = CGROUPS / "pids" / layout.link("up")
    group.mkdir(exist_ok=True)
    (group / "cgroup.procs").write_text(str(os.getpid()))


def remove(layout, name="*"):
    """Kills every process of a machine, or of all machines, and removes its interface and control groups."""
    pattern = layout.link(name)
    eventually(20, f"end of the processes of {pattern}", lambda: not kill(pattern))
    for device in Path("/sys/class/net").glob(pattern):
        try_run("ip", "link", "delete", device.name)
    eventually(20, f"removal of the control groups of {pattern}", lambda: remove_cgroups(pattern))


def kill(pattern):
    """Kills the processes that are in the machines' control groups, and returns those that there were."""
    pids = set()
    for top in CGROUPS.glob(f"*/{pattern}"):
        # Unlike a pattern with two stars, this takes it that directories go meanwhile.
        for directory, _, _ in os.walk(top):
            pids.update(read(Path(directory) / "cgroup.procs").split())
    for process in pids:
        try:
            os.kill(int(process), signal.SIGKILL)
        except ProcessLookupError:
            pass
    return pids


def read(file):
    """A control group may go while its file is read."""
    try:
        return file.read_text()
    except OSError:
        return ""


def remove_cgroups(pattern):
    """Removes what is empty, children first; tells whether nothing is left."""
    for top in CGROUPS.glob(f"*/{pattern}"):
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                pass
    return not any(CGROUPS.glob(f"*/{pattern}"))


def remove_files(directory):
    """Removes a directory of ours; refuses while something is mounted there, which would lose its files."""
    mounted = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {directory}/" in line]
    if mounted:
        raise Failed(f"something is mounted under {directory}: {mounted[0].split()[4]}")
    shutil.rmtree(directory, ignore_errors=False)
