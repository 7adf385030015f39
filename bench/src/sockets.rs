//! Which connections a network namespace holds, from the kernel: the proof that a proxy is in the path.

use std::fs;
use std::io;

use ambit_sandbox::Room;
use anyhow::Context as _;

/// The kernel's number for an open connection.
const ESTABLISHED: &str = "01";

/// How many open connections in `room` have this local port.
///
/// # Errors
/// The kernel's tables cannot be read.
pub(crate) fn established(room: &Room, port: u16) -> anyhow::Result<usize> {
    let tables = room.run(|| -> io::Result<String> {
        let v4 = fs::read_to_string("/proc/thread-self/net/tcp")?;
        // A kernel without IPv6 has no table for it.
        Ok(v4 + &fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default())
    });
    let tables = tables.flatten().context("cannot read the kernel's table of TCP connections")?;
    Ok(count(&tables, port))
}

fn count(tables: &str, port: u16) -> usize {
    let port = format!(":{port:04X}");
    let matches = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|local| local.ends_with(&port));
        local && fields.nth(1) == Some(ESTABLISHED)
    };
    tables.lines().filter(|line| matches(line)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0201F40A:3A99 0301F40A:B1C2 01 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0201F40A:B1C2 0301F40A:3A99 01 00000000:00000000 00:00000000 00000000     0        0 3
  sl  local_address                         remote_address                        st tx_queue
   0: 0000000000000000FFFF00000201F40A:3A99 0000000000000000FFFF00000301F40A:C001 01 00000000:00000000
   1: 0000000000000000FFFF00000201F40A:3A99 0000000000000000FFFF00000301F40A:C002 06 00000000:00000000
";

    #[test]
    fn open_connections_are_counted_by_local_port() {
        assert_eq!(count(TABLES, 15001), 2, "neither listeners, nor remote ports, nor TIME_WAIT");
        assert_eq!(count(TABLES, 0xB1C2), 1);
        assert_eq!(count(TABLES, 15008), 0);
    }
}
