//! Lines of a file as bytes, with a bound on how much of one line is held.

use std::io::{BufRead, Result};

/// Longest line taken, in bytes. A longer one is passed over; only its start is kept.
pub(in crate::logs) const LIMIT: usize = 1 << 20;

/// One line, without its newline.
pub(in crate::logs) struct Line<'a> {
    /// From 1.
    pub number: usize,
    /// At most [`LIMIT`] bytes.
    pub bytes: &'a [u8],
    /// Whether a newline stood at its end; only a file's last line can lack one.
    pub ended: bool,
    /// Whether it was longer than [`LIMIT`].
    pub too_long: bool,
    /// Bytes taken from the file for it.
    pub read: u64,
}

/// A reader of lines that holds one at a time.
pub(in crate::logs) struct Lines<R> {
    reader: R,
    held: Vec<u8>,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    pub(in crate::logs) fn new(reader: R) -> Self {
        Self { reader, held: Vec::new(), number: 0 }
    }

    /// The next line; `None` at the end of the file.
    pub(in crate::logs) fn next_line(&mut self) -> Result<Option<Line<'_>>> {
        self.held.clear();
        let (mut read, mut ended, mut too_long) = (0, false, false);
        while !ended {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                break;
            }
            let end = chunk.iter().position(|&b| b == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            let room = LIMIT - self.held.len();
            self.held.extend_from_slice(&part[..part.len().min(room)]);
            too_long |= part.len() > room;
            ended = end.is_some();
            let taken = part.len() + usize::from(ended);
            read += taken as u64;
            self.reader.consume(taken);
        }
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        let bom = if self.number == 1 { b"\xef\xbb\xbf".as_slice() } else { b"" };
        let bytes = self.held.strip_prefix(bom).unwrap_or(&self.held);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        Ok(Some(Line { number: self.number, bytes, ended, too_long, read }))
    }
}

/// The start of a line for a person to read: control characters and broken UTF-8 become `\u{fffd}`.
pub(in crate::logs) fn excerpt(bytes: &[u8]) -> String {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
    start.chars().take(100).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_over_the_limit_is_cut_and_the_next_one_is_whole() {
        let mut text = vec![b'x'; LIMIT + 5];
        text.extend_from_slice(b"\nshort\r\nlast");
        // A tiny buffer, so that lines span many chunks.
        let mut lines = Lines::new(std::io::BufReader::with_capacity(7, text.as_slice()));
        let long = lines.next_line().unwrap().unwrap();
        assert!(long.too_long && long.bytes.len() == LIMIT && long.read == LIMIT as u64 + 6);
        let short = lines.next_line().unwrap().unwrap();
        assert_eq!((short.number, short.bytes, short.ended, short.too_long), (2, b"short".as_slice(), true, false));
        let last = lines.next_line().unwrap().unwrap();
        assert_eq!((last.bytes, last.ended), (b"last".as_slice(), false));
        assert!(lines.next_line().unwrap().is_none());
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_taken() {
        let mut text = vec![b'x'; LIMIT];
        text.push(b'\n');
        let mut lines = Lines::new(text.as_slice());
        assert!(!lines.next_line().unwrap().unwrap().too_long);
    }
}
