//! Inputs made of known ones: the same ones every time.

use std::fs;
use std::path::PathBuf;

/// The longest input that is made, bytes.
const LONGEST: usize = 4096;
/// What texts of all protocols here are made of.
const WORDS: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"=",
    b"\"",
    b"/",
    b"//",
    b"/../",
    b"%2e",
    b"%2F",
    b"%25",
    b"%00",
    b"\\",
    b"\xff\xff\xff\xff",
    b"\x80",
    "\u{fc}".as_bytes(),
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
];

/// Known inputs, and an endless number of others.
pub struct Inputs {
    known: Vec<Vec<u8>>,
    random: u64,
}

/// The inputs that are kept for a target, by their names.
///
/// # Panics
/// There are none.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it is read").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", dir.display());
    files.iter().map(|file| fs::read(file).expect("it is read")).collect()
}

// === impl Inputs ===

impl Inputs {
    /// Those that follow from `known` and `seed`.
    pub fn new(known: Vec<Vec<u8>>, seed: u64) -> Self {
        Self { known, random: seed | 1 }
    }

    /// xorshift64*: all that is needed here.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.random() >> 16) as usize % limit.max(1)
    }

    fn known(&mut self) -> Vec<u8> {
        let at = self.below(self.known.len());
        self.known.get(at).cloned().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = (at + self.below(16)).min(input.len());
        match self.below(9) {
            0 => drop(input.drain(at..end)),
            1 => input.truncate(at),
            2 => {
                let word = WORDS[self.below(WORDS.len())];
                input.splice(at..at, word.iter().copied());
            }
            3 => {
                let other = self.known();
                let from = self.below(other.len() + 1);
                let to = (from + self.below(64)).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
            4 => {
                let piece = input[at..end].repeat(1 + self.below(4));
                input.splice(at..at, piece);
            }
            5 => {
                let byte = self.random() as u8;
                input.insert(at, byte);
            }
            _ if at == input.len() => input.push(self.random() as u8),
            6 => input[at] ^= 1 << self.below(8),
            7 => input[at] = self.random() as u8,
            _ => input[at] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'/', b'%'][self.below(8)],
        }
    }
}

impl Iterator for Inputs {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut input = self.known();
        for _ in 0..=self.below(6) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        Some(input)
    }
}
