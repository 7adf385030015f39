//! The routing rule and route that bring replies on ztunnel's source-spoofed connections back to it.

use std::fmt::Write;

use crate::capture::{CONNECTION_MARK, MARK_MASK};
use crate::drift::Drift;
use crate::error::Error;
use crate::rules::Family;
use crate::run::{Netns, Program};

/// The priority of the routing rule (Istio ambient: 32764).
const PRIORITY: u32 = 32764;
/// The routing table it leads to (Istio ambient: 100).
const TABLE: u32 = 100;
const IP: Program = Program { name: "ip", package: "iproute2", alternative: "" };

/// How much of IPv6 the namespace has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ipv6 {
    /// The kernel has none.
    Absent,
    /// It is disabled on the loopback interface, which then takes no route.
    NoRoute,
    Present,
}

/// Adds what is missing, and takes out IPv6's part where `ipv6` is not wanted.
pub(crate) fn apply(netns: &Netns, ipv6: bool) -> Result<(), Error> {
    Family::ALL.into_iter().try_for_each(|family| {
        let wanted = family == Family::V4 || ipv6;
        batch(netns, family, if wanted { "add" } else { "del" })
    })
}

/// Takes out both families' rule and route, whether they are there or not.
pub(crate) fn remove(netns: &Netns) -> Result<(), Error> {
    Family::ALL.into_iter().try_for_each(|family| batch(netns, family, "del"))
}

/// Differences from what [`apply`] leaves.
pub(crate) fn verify(netns: &Netns, ipv6: bool) -> Result<Vec<Drift>, Error> {
    let mut drifts = Vec::new();
    for family in Family::ALL {
        let flag = flag(family);
        let place = &format!("ip {flag}");
        let script = format!("rule show pref {PRIORITY}\nroute show table {TABLE}\n");
        // The listing of a routing table that does not exist is an error, and so is that of a family that does not.
        let found = netns.run_to_end(IP, &[flag, "-force", "-batch", "-"], &script)?.stdout;
        let mut found: Vec<&str> =
            found.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        for wanted in wanted(family, ipv6) {
            match found.iter().position(|line| wanted.describes(line)) {
                Some(index) => drop(found.remove(index)),
                None => drifts.push(Drift::missing(place, &wanted.0.join(" "))),
            }
        }
        drifts.extend(found.into_iter().map(|line| Drift::unexpected(place, line)));
    }
    Ok(drifts)
}

/// A line of `ip`'s listing, by the words it has to have, in order.
struct Line(Vec<String>);

// === impl Line ===

impl Line {
    fn describes(&self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        self.0.iter().all(|wanted| words.any(|word| word == wanted))
    }
}

/// The lines that `ip` lists where all is well.
fn wanted(family: Family, ipv6: bool) -> Vec<Line> {
    let words = |text: String| Line(text.split(' ').map(str::to_owned).collect());
    // The routing table may have a name on this machine.
    let rule =
        words(format!("{PRIORITY}: from all fwmark {CONNECTION_MARK:#x}/{MARK_MASK:#x} lookup"));
    let route = words("local default dev lo".to_owned());
    match (family, Ipv6::here()) {
        (Family::V4, _) => vec![rule, route],
        (Family::V6, _) if !ipv6 => Vec::new(),
        (Family::V6, Ipv6::Absent) => Vec::new(),
        (Family::V6, Ipv6::NoRoute) => vec![rule],
        (Family::V6, Ipv6::Present) => vec![rule, route],
    }
}

fn flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

/// Lines for `ip -batch`.
fn commands(family: Family, verb: &str) -> String {
    let any = match family {
        Family::V4 => "0.0.0.0/0",
        Family::V6 => "::/0",
    };
    let ipv6 = if family == Family::V6 { Ipv6::here() } else { Ipv6::Present };
    let mut lines = String::new();
    if ipv6 != Ipv6::Absent {
        let _ = writeln!(
            lines,
            "rule {verb} from {any} fwmark {CONNECTION_MARK:#x}/{MARK_MASK:#x} lookup {TABLE} priority {PRIORITY}"
        );
    }
    if ipv6 == Ipv6::Present {
        let _ = writeln!(lines, "route {verb} local {any} dev lo table {TABLE}");
    }
    lines
}

/// Runs the commands; that something is there already, or already gone, is no error.
fn batch(netns: &Netns, family: Family, verb: &str) -> Result<(), Error> {
    let script = commands(family, verb);
    let mut output = netns.run_to_end(IP, &[flag(family), "-force", "-batch", "-"], &script)?;
    let harmless = |line: &&str| {
        [
            "File exists",
            "No such file or directory",
            "No such process",
            "does not exist",
            "Command failed",
        ]
        .iter()
        .any(|known| line.contains(known))
    };
    let serious: Vec<&str> = output.stderr.lines().filter(|line| !harmless(line)).collect();
    if output.success || serious.is_empty() {
        return Ok(());
    }
    output.stderr = serious.join("\n");
    Err(output.refusal(IP))
}

// === impl Ipv6 ===

impl Ipv6 {
    /// As the current thread's namespace has it.
    fn here() -> Self {
        match std::fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6") {
            Err(_) => Self::Absent,
            Ok(value) if value.trim() == "1" => Self::NoRoute,
            Ok(_) => Self::Present,
        }
    }
}
