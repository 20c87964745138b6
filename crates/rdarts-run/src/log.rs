//! Whether `events.jsonl` is still what a checkpoint counts on.
//!
//! A checkpoint keeps the length of its part of the log and eight hexadecimal digits of BLAKE3 for each line of it, so
//! that a changed line is not only noticed but named. Checkpoints of format 1 have the length alone. A run without
//! checkpoints goes on from all whole lines.

use serde_json::Value;

use crate::event::Event;

/// Digits of a line.
const DIGITS: usize = 8;

/// A line that is not as a checkpoint needs it.
#[derive(Debug, PartialEq)]
pub(crate) struct BadLine {
    /// Counted from 1.
    pub(crate) line: usize,
    /// What is wrong with it, after "line 3".
    pub(crate) problem: String,
}

/// The digits of the whole lines in `bytes`, one after another.
pub(crate) fn digits(bytes: &[u8]) -> String {
    whole_lines(bytes).map(checksum).collect()
}

/// The part of `digits` that belongs to the first `length` bytes of a log.
pub(crate) fn digits_up_to(digits: &str, bytes: &[u8], length: u64) -> String {
    let n_lines = whole_lines(&bytes[..bytes.len().min(length as usize)]).count();
    digits.chars().take(n_lines * DIGITS).collect()
}

/// The number of whole lines.
pub(crate) fn n_lines(bytes: &[u8]) -> usize {
    whole_lines(bytes).count()
}

/// Compares a log with what a checkpoint says of its first `length` bytes; `digits` may be empty, where it says nothing.
pub(crate) fn check(bytes: &[u8], length: u64, digits: &str) -> Result<(), BadLine> {
    let bad = |line: usize, problem: &str| Err(BadLine { line, problem: problem.to_string() });
    let mut lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let mut at = 0;
    let mut index = 0;
    while at < length {
        let number = index + 1;
        let Some(line) = lines.next() else { return bad(number, "is missing") };
        if !line.ends_with(b"\n") {
            return bad(number, "is cut short");
        }
        at += line.len() as u64;
        let is_right = match digits.get(DIGITS * index..DIGITS * number) {
            Some(expected) => checksum(line) == expected,
            None => digits.is_empty() && !line.ends_with(b"\r\n") && serde_json::from_slice::<Value>(line).is_ok(),
        };
        if !is_right || at > length {
            let is_converted = line.ends_with(b"\r\n");
            let problem =
                if is_converted { "has the line end of another system (CR LF)" } else { "is not as it was written" };
            return bad(number, problem);
        }
        index = number;
    }
    Ok(())
}

/// Checks what stands behind the first `length` bytes: it was written after the checkpoint and is made again, but only
/// what this program wrote may go. A last line that was not written to its end is what a kill leaves, and zeros are what
/// a power cut leaves.
pub(crate) fn check_rest(bytes: &[u8], length: u64) -> Result<(), BadLine> {
    let (part, rest) = bytes.split_at(bytes.len().min(length as usize));
    match whole_lines(rest).position(|line| !line.contains(&0) && serde_json::from_slice::<Event>(line).is_err()) {
        Some(n) => {
            let problem = "is not a record of this program".to_string();
            Err(BadLine { line: n_lines(part) + n + 1, problem })
        }
        None => Ok(()),
    }
}

/// The length of what was written to its end in a log that no checkpoint counts on. The rest is what a kill or a power cut
/// leaves of the last line.
pub(crate) fn check_whole(bytes: &[u8]) -> Result<u64, BadLine> {
    let mut length = 0;
    for (index, line) in whole_lines(bytes).take_while(|line| !line.contains(&0)).enumerate() {
        let problem = match serde_json::from_slice::<Event>(line) {
            _ if line.ends_with(b"\r\n") => "has the line end of another system (CR LF)",
            Err(_) => "is not a record of this program",
            Ok(_) => {
                length += line.len() as u64;
                continue;
            }
        };
        return Err(BadLine { line: index + 1, problem: problem.to_string() });
    }
    Ok(length)
}

fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"))
}

/// A few digits that change with any byte.
pub fn checksum(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..DIGITS].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n{\"half";

    #[track_caller]
    fn check_bad(bytes: &[u8], digits: &str, line: usize, problem: &str) {
        assert_eq!(check(bytes, 24, digits), Err(BadLine { line, problem: problem.to_string() }));
    }

    #[test]
    fn a_log_that_goes_on_after_its_part_fits() {
        let digits = digits(LOG);
        assert_eq!(digits.len(), 24);
        assert_eq!(digits_up_to(&digits, LOG, 16), digits[..16]);
        for (length, of) in [(0, 0), (8, 8), (16, 16), (24, 24)] {
            assert_eq!(check(LOG, length, &digits[..of]), Ok(()));
            assert_eq!(check(LOG, length, ""), Ok(()));
        }
    }

    #[test]
    fn the_first_bad_line_is_named() {
        let digits = digits(LOG);
        let text = std::str::from_utf8(LOG).unwrap();
        for digits in [digits.as_str(), ""] {
            check_bad(text.replace('\n', "\r\n").as_bytes(), digits, 1, "has the line end of another system (CR LF)");
            check_bad(&LOG[..20], digits, 3, "is cut short");
            check_bad(&LOG[..16], digits, 3, "is missing");
            check_bad(b"", digits, 1, "is missing");
            check_bad(text.replace("{\"a\":2}", "a = 2").as_bytes(), digits, 2, "is not as it was written");
        }
        // Only the digits tell these.
        check_bad(text.replace("2}", "7}").as_bytes(), &digits, 2, "is not as it was written");
        check_bad(text.replace("{\"a\":2}\n", "").as_bytes(), &digits, 2, "is not as it was written");
        // And a part that ends within a line only the length.
        check_bad(text.replace("2}", "22}").as_bytes(), "", 3, "is not as it was written");
        // Digits for fewer lines than the length has.
        assert!(check(LOG, 24, &digits[..16]).is_err());
    }

    #[test]
    fn a_line_of_another_program_behind_the_part_is_named() {
        let own = crate::event::to_line(&crate::event::tests::epoch(3));
        let rest = |rest: &str| check_rest(&[&LOG[..24], rest.as_bytes()].concat(), 24);
        assert_eq!(rest(""), Ok(()));
        assert_eq!(rest(&format!("{own}{own}{{\"half")), Ok(()));
        assert_eq!(rest(&format!("{own}\0\0\0lost\n{own}")), Ok(()));
        for foreign in ["killed\n", "{\"a\":1}\n", "[1,2]\n"] {
            let problem = "is not a record of this program".to_string();
            assert_eq!(rest(&format!("{own}{foreign}{own}")), Err(BadLine { line: 5, problem }));
        }
    }

    #[test]
    fn a_log_that_stands_alone_counts_to_its_last_whole_line() {
        let own = crate::event::to_line(&crate::event::tests::found(3));
        let length = |text: String| check_whole(text.as_bytes());
        let bad = |line: usize, problem: &str| Err(BadLine { line, problem: problem.to_string() });
        assert_eq!(length(String::new()), Ok(0));
        assert_eq!(length("{\"half".to_string()), Ok(0));
        let two = Ok(2 * own.len() as u64);
        for half in ["", "{\"half", "\0\0\0", "\0\0lost\n"] {
            assert_eq!(length(format!("{own}{own}{half}")), two);
        }
        assert_eq!(length(own.replace('\n', "\r\n")), bad(1, "has the line end of another system (CR LF)"));
        for foreign in ["killed\n", "{\"a\":1}\n", "\n"] {
            assert_eq!(length(format!("{own}{foreign}{own}")), bad(2, "is not a record of this program"));
        }
    }
}
