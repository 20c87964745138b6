//! Texts of the user: files in one encoding, and names in a sentence.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rdarts_text::{escaped, shown};

/// More than any spec, space or genotype has; a larger file was named by mistake.
const MOST_BYTES: u64 = 16 << 20;

/// Why a text file was refused.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The system cannot read it.
    #[error("cannot read the {what} `{}`: {source}", shown(path))]
    Read {
        /// What the file is to the user, such as `spec`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is no text in UTF-8.
    #[error("the {what} `{}` {found}: save it as UTF-8", shown(path))]
    Encoding {
        /// What the file is to the user.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// It is larger than any such text.
    #[error("the {what} `{}` has more than {MOST_BYTES} bytes, which no {what} has: name another file", shown(path))]
    Large {
        /// What the file is to the user.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
}

impl TextError {
    /// Whether the system refuses, and not the content of the file or its name.
    pub fn is_system(&self) -> bool {
        matches!(self, TextError::Read { source, .. } if is_system(source))
    }
}

/// Whether the system refuses: false where a path that the user named is none, or one of another kind.
pub fn is_system(err: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound};
    !matches!(err.kind(), NotFound | NotADirectory | IsADirectory | InvalidInput | InvalidFilename)
}

/// Reads a text file of the user, `what` it is to them; the mark that some editors put first is left out.
pub fn read_text(what: &'static str, path: &Path) -> Result<String, TextError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| TextError::Read { what, path: path.to_path_buf(), source })?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(TextError::Large { what, path: path.to_path_buf() });
    }
    decoded(&bytes).map_err(|found| TextError::Encoding { what, path: path.to_path_buf(), found })
}

/// A path as a shell takes it.
pub fn for_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+:@%".contains(c));
    match path.to_str().is_some() && text == escaped(&text) {
        true if plain => text,
        true => format!("'{}'", text.replace('\'', "'\\''")),
        // Byte by byte, as shells read it.
        false => {
            let byte = |byte: &u8| match byte {
                b'\'' | b'\\' | 0..0x20 | 0x7f.. => format!("\\x{byte:02x}"),
                _ => char::from(*byte).to_string(),
            };
            format!("$'{}'", path.as_os_str().as_encoded_bytes().iter().map(byte).collect::<String>())
        }
    }
}

/// The text, or what the bytes are instead.
fn decoded(bytes: &[u8]) -> Result<String, String> {
    let marks: [(&[u8], &str); 4] = [
        (&[0xff, 0xfe, 0, 0], "UTF-32"),
        (&[0, 0, 0xfe, 0xff], "UTF-32"),
        (&[0xff, 0xfe], "UTF-16"),
        (&[0xfe, 0xff], "UTF-16"),
    ];
    if let Some((_, name)) = marks.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return Err(format!("is encoded in {name}"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let zeros = bytes.iter().filter(|&&byte| byte == 0).count();
    // Letters of the Latin script have a zero in each pair of bytes.
    if zeros > 0 && 3 * zeros >= bytes.len() {
        return Err("is encoded in UTF-16".to_string());
    }
    if zeros > 0 {
        return Err("is no text".to_string());
    }
    std::str::from_utf8(bytes).map(str::to_string).map_err(|err| {
        let at = err.valid_up_to();
        let line = 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
        format!("has the byte 0x{:02x} in line {line}, so it is in another encoding, such as Latin-1", bytes[at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<&str, &str>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        std::fs::write(&path, bytes).unwrap();
        let found = read_text("spec", &path).map_err(|err| {
            assert!(!err.is_system());
            err.to_string().replace(&path.display().to_string(), "a.toml")
        });
        assert_eq!(found, expected.map(str::to_string).map_err(str::to_string));
    }

    #[test]
    fn a_text_is_read_with_and_without_a_mark() {
        check(b"seed = 1\n", Ok("seed = 1\n"));
        check(b"\xef\xbb\xbfseed = 1\r\n", Ok("seed = 1\r\n"));
        check("# gr\u{fc}n".as_bytes(), Ok("# gr\u{fc}n"));
        check(b"", Ok(""));
    }

    #[test]
    fn another_encoding_is_named() {
        let utf16: Vec<u16> = "seed = 1\n".encode_utf16().collect();
        let little: Vec<u8> = utf16.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = utf16.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        let sentence = "the spec `a.toml` is encoded in UTF-16: save it as UTF-8";
        for bytes in [[b"\xff\xfe", &little[..]].concat(), [b"\xfe\xff", &big[..]].concat(), little.clone(), big] {
            check(&bytes, Err(sentence));
        }
        let wide: Vec<u8> = "seed".chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
        check(&[b"\xff\xfe\0\0", &wide[..]].concat(), Err("the spec `a.toml` is encoded in UTF-32: save it as UTF-8"));
        check(
            b"seed = 1\n# gr\xfcn\n",
            Err("the spec `a.toml` has the byte 0xfc in line 2, so it is in another encoding, such as Latin-1: save \
                 it as UTF-8"),
        );
        check(b"abcdefgh\0ijk", Err("the spec `a.toml` is no text: save it as UTF-8"));
    }

    #[test]
    fn what_is_no_file_is_input_and_what_the_system_refuses_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("absent"), dir.path().to_path_buf()] {
            let err = read_text("search space", &path).unwrap_err();
            assert!(err.to_string().starts_with(&format!("cannot read the search space `{}`: ", path.display())));
            assert!(!err.is_system(), "{err}");
        }
        let path = dir.path().join("large");
        File::create(&path).unwrap().set_len(MOST_BYTES + 1).unwrap();
        let err = read_text("spec", &path).unwrap_err().to_string();
        assert!(err.contains("has more than 16777216 bytes, which no spec has"), "{err}");
        for code in [5, 13, 28] {
            assert!(is_system(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }

    #[test]
    fn names_in_a_sentence_stay_on_its_line() {
        assert_eq!(escaped("a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(for_shell(Path::new("a/b-1")), "a/b-1");
        assert_eq!(for_shell(Path::new("it's")), "'it'\\''s'");
        assert_eq!(for_shell(Path::new("a\n'\u{200e}")), "$'a\\x0a\\x27\\xe2\\x80\\x8e'");
        assert_eq!(escaped("a\u{202e}b \u{e4}\u{308} \"'\\"), "a\\u{202e}b \u{e4}\u{308} \"'\\");
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let name = std::ffi::OsStr::from_bytes(b"a\xe4\tb");
            assert_eq!(shown(Path::new(name)), "a\\xe4\\tb");
        }
    }
}
