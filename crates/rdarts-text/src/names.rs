//! Names as they are shown: what a file is called goes to terminals, logs and pictures, and may be any bytes.

use std::ffi::OsStr;
use std::fmt::Write;

/// A path or a name in one line of text that changes nothing but what is read: control characters, line ends and marks
/// that turn the direction of writing are escaped (`\n`, `\u{1b}`), bytes that are no text are `\xff`.
///
/// What is shown already stays as it is.
pub fn shown(name: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    for chunk in name.as_ref().as_encoded_bytes().utf8_chunks() {
        text.push_str(&escaped(chunk.valid()));
        chunk.invalid().iter().for_each(|byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        });
    }
    text
}

/// The same of text, such as a whole sentence with names in it.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            letter if is_unseen(letter) => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    shown
}

/// Whether a letter does something else than being seen.
fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(letter, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[cfg(unix)]
    #[test]
    fn names_are_one_line_that_does_nothing() {
        let cases: [(&[u8], &str); 6] = [
            (b"a\nb\x1b[31mred.png", "a\\nb\\u{1b}[31mred.png"),
            ("\u{202e}gnp.exe\u{2066}".as_bytes(), "\\u{202e}gnp.exe\\u{2066}"),
            (b"caf\xe9/\xff", "caf\\xe9/\\xff"),
            ("Äpfel 猫 🐈 it's".as_bytes(), "Äpfel 猫 🐈 it's"),
            (b"\r\t\x00\x7f\xc2\x9b", "\\r\\t\\u{0}\\u{7f}\\u{9b}"),
            (b"C:\\new", "C:\\new"),
        ];
        for (name, expected) in cases {
            assert_eq!(shown(OsStr::from_bytes(name)), expected);
            assert_eq!(escaped(expected), expected, "what is shown stays");
        }
    }
}
