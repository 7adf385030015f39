//! Counting the messages of gRPC calls as their bytes pass (gRPC's "PROTOCOL-HTTP2", Length-Prefixed-Message).

/// Counts messages in a stream that comes in pieces of any size.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Messages {
    /// Messages that have begun, as far as their whole prefix has come.
    pub count: u64,
    /// Bytes of the current message that are still to come.
    left: u64,
    /// The length, as far as it has been read, and how many of the prefix's five bytes have.
    length: u64,
    prefix: u8,
}

/// A flag and four bytes of length.
const PREFIX: u8 = 5;

// === impl Messages ===

impl Messages {
    /// Takes the next piece in.
    pub(crate) fn see(&mut self, mut piece: &[u8]) {
        while let [byte, rest @ ..] = piece {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
                self.left -= skipped as u64;
                piece = piece.get(skipped..).unwrap_or_default();
                continue;
            }
            // The flag is shifted out by the four that follow.
            self.length = (self.length << 8 | u64::from(*byte)) & 0xffff_ffff;
            self.prefix += 1;
            if self.prefix == PREFIX {
                self.count += 1;
                (self.left, self.length, self.prefix) = (self.length, 0, 0);
            }
            piece = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_are_counted_however_they_are_cut(
            sizes in proptest::collection::vec(0..600_usize, 0..12),
            cuts in proptest::collection::vec(1..50_usize, 1..10),
        ) {
            let mut stream = Vec::new();
            for size in &sizes {
                stream.push(1);
                stream.extend(u32::try_from(*size).unwrap().to_be_bytes());
                stream.extend(std::iter::repeat_n(0xff, *size));
            }
            let mut messages = Messages::default();
            let (mut rest, mut cuts) = (&stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, next) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                messages.see(piece);
                rest = next;
            }
            prop_assert_eq!(messages.count, sizes.len() as u64);
        }
    }
}
