//! W3C trace context, version 00, as HBONE CONNECT requests carry it.

use std::fmt;
use std::str::FromStr;

/// The value of a `traceparent` header: `00-<32 hex>-<16 hex>-<2 hex>`, 55 characters.
///
/// Nothing is exported: it ties log lines of one connection together from hop to hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

/// A string that is no trace context.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a traceparent of the form 00-<32 hex digits>-<16 hex digits>-<2 hex digits>")]
pub struct ParseTraceParentError;

impl TraceParent {
    /// The header's name.
    pub const HEADER: &str = "traceparent";

    /// A new trace with random ids, not sampled.
    pub fn random() -> Self {
        Self {
            trace_id: rand::random::<u128>().max(1),
            parent_id: rand::random::<u64>().max(1),
            flags: 0,
        }
    }

    /// The same trace with another random parent id: what the next hop is told.
    pub fn child(self) -> Self {
        Self { parent_id: rand::random::<u64>().max(1), ..self }
    }

    /// The received header's value if there is a valid one, else a new trace.
    pub fn from_header(value: Option<&[u8]>) -> Self {
        value
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(Self::random)
    }

    /// The trace id.
    pub fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The id of the hop that sent the header.
    pub fn parent_id(self) -> u64 {
        self.parent_id
    }
}

impl FromStr for TraceParent {
    type Err = ParseTraceParentError;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let mut parts = value.split('-');
        let mut next = |digits: usize| {
            parts
                .next()
                .filter(|part| part.len() == digits)
                .filter(|part| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                .ok_or(ParseTraceParentError)
        };
        let hex = |_| ParseTraceParentError;
        let (version, trace, parent, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let parsed = Self {
            trace_id: u128::from_str_radix(trace, 16).map_err(hex)?,
            parent_id: u64::from_str_radix(parent, 16).map_err(hex)?,
            flags: u8::from_str_radix(flags, 16).map_err(hex)?,
        };
        let complete = version == "00" && parts.next().is_none();
        if !complete || parsed.trace_id == 0 || parsed.parent_id == 0 {
            return Err(ParseTraceParentError);
        }
        Ok(parsed)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn prints_what_it_parsed() {
        let parsed: TraceParent = EXAMPLE.parse().unwrap();
        assert_eq!(parsed.to_string(), EXAMPLE);
        assert_eq!(parsed.parent_id(), 0xb7ad6b7169203331);
    }

    #[test]
    fn a_new_one_is_55_characters_and_valid() {
        let new = TraceParent::random();
        assert_eq!(new.to_string().len(), 55);
        assert_eq!(new.to_string().parse(), Ok(new));
        assert_eq!(new.child().trace_id(), new.trace_id());
        assert_ne!(new.child(), new);
    }

    #[test]
    fn refuses_every_other_form() {
        for text in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319cb7ad6b7169203331-01-x",
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(ParseTraceParentError), "{text}");
        }
    }

    #[test]
    fn an_unusable_header_starts_a_new_trace() {
        assert_eq!(TraceParent::from_header(Some(EXAMPLE.as_bytes())).to_string(), EXAMPLE);
        for bad in [None, Some(&b"\xff"[..]), Some(&b"x"[..])] {
            assert_ne!(TraceParent::from_header(bad), TraceParent::from_header(bad));
        }
    }
}
