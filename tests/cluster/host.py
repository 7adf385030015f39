"""What a cluster changes on the machine it runs on, and how that is taken back."""

import json
from pathlib import Path

from node_files import PLACES
from shell import Failed, run

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
DEVICES = Path("/sys/class/net")
RECORD = "host.json"


def check_free(layout):
    """Refuses an index or a directory that a cluster has already."""
    advice = "remove it with `make cluster-down`, or choose another with CLUSTER_INDEX=1 (to 9)"
    owner = owner_of(layout)
    if owner is not None:
        raise Failed(f"cluster {layout.index} exists already in {owner}: {advice}")
    if (layout.state / RECORD).exists():
        raise Failed(f"{layout.state} has the remains of a cluster: {advice}")
    check_ours(layout)


def check_ours(layout):
    """Refuses a directory that no cluster was started in: its files are somebody's."""
    others = {path.name for path in layout.state.glob("*")} - {"lock"}
    if others and not (layout.state / RECORD).exists():
        raise Failed(f"{layout.state} is not a cluster's directory: it has files and no {RECORD}")


def claim(layout):
    """Takes the cluster's index: a bridge that carries the state directory's name. Its traffic is forwarded."""
    missing = [place for place in PLACES if not Path(place).exists()]
    record = {"forwarding": FORWARDING.read_text().strip(), "made": missing}
    (layout.state / RECORD).write_text(json.dumps(record))
    for place in missing:
        Path(place).mkdir(parents=True, exist_ok=True)
    run("ip", "link", "add", layout.bridge, "type", "bridge")
    run("ip", "link", "set", layout.bridge, "alias", layout.state)
    run("ip", "address", "add", f"{layout.host_ip}/24", "dev", layout.bridge)
    run("ip", "link", "set", layout.bridge, "up")
    FORWARDING.write_text("1")


def owner_of(layout):
    """The state directory of the cluster with this index; None without such a cluster."""
    alias = DEVICES / layout.bridge / "ifalias"
    return alias.read_text().strip() if alias.exists() else None


def release(layout):
    """Undoes `claim`, or leaves that to another cluster which still needs what was changed."""
    if owner_of(layout) is not None:
        run("ip", "link", "delete", layout.bridge)
    record = layout.state / RECORD
    if not record.exists():
        return
    before, others = json.loads(record.read_text()), other_records()
    if others:
        theirs = json.loads(others[0].read_text())
        before["made"] += theirs["made"]
        others[0].write_text(json.dumps(before))
        return
    FORWARDING.write_text(before["forwarding"])
    for place in before["made"]:
        remove_empty(Path(place))


def other_records():
    """The records of the clusters whose bridges are there."""
    records = [Path((device / "ifalias").read_text().strip(), RECORD) for device in DEVICES.glob("ambit[0-9]")]
    return [record for record in records if record.exists()]


def remove_empty(place):
    try:
        place.rmdir()
    except OSError:
        pass
