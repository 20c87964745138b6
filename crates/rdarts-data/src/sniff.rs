//! What a file is that is not what it should be, told from its first bytes.
//!
//! The commonest damage to a data set is a file that never was one: a page of a server that said no, a
//! pointer instead of the file, an archive that was not unpacked. Naming it saves a reader the search. A
//! guess is only ever part of an error's sentence; no file is read differently for it.

/// Bytes that are enough for a guess.
pub const HEAD: usize = 128;

/// The kind of file that begins with `head`, when its beginning names it beyond doubt.
pub fn known(head: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 13] = [
        (b"\x89PNG", "a PNG image"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"\x1f\x8b", "a gzip file, to be unpacked first"),
        (b"PK\x03\x04", "a zip archive"),
        (b"BZh", "a bzip2 file"),
        (b"\xfd7zXZ", "an xz file"),
        (b"%PDF", "a PDF document"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"PAR1", "a Parquet table"),
        (b"version https://", "a Git LFS pointer instead of the file itself"),
        (b"\x89HDF", "an HDF5 file, as MATLAB 7.3 writes them"),
        (b"MATLAB 5.0", "a MATLAB 5 MAT-file"),
        (b"\x80\x02", "a Python pickle"),
    ];
    if head.is_empty() {
        return Some("empty");
    }
    if let Some((_, kind)) = KNOWN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(kind);
    }
    let text = text_of(head);
    let is_page = ["<!doc", "<html", "<head"]
        .iter()
        .any(|start| text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes())));
    is_page.then_some("an HTML page, perhaps of a failed download")
}

/// The kind of file that begins with `head`, as well as can be told.
pub fn guess(head: &[u8]) -> String {
    if let Some(kind) = known(head) {
        return kind.to_owned();
    }
    if text_of(head).iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return "a text file".to_owned();
    }
    format!("a file that begins with {}", hex(&head[..head.len().min(4)]))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// The bytes without a byte order mark and leading blanks.
fn text_of(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start()
}
