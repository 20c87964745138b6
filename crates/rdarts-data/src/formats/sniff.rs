//! What a file is that is not what it should be, told from its first bytes.
//!
//! The commonest damage to a data set is a file that never was one: a page of a server that said no, a
//! pointer instead of the file, an archive that was not unpacked. Naming it saves a reader the search. A
//! guess is only ever part of an error's sentence; no file is read differently for it.

/// Bytes that are enough for a guess.
pub const HEAD: usize = 256;

/// The kind of file that begins with `head`, when its beginning names it beyond doubt.
pub fn known(head: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 16] = [
        (b"RIFF", "a RIFF file (a film or a sound)"),
        (b"Rar!", "a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
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
    if head.get(128..132) == Some(b"DICM") {
        return Some("a DICOM image");
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

/// Whether a file with this beginning is a PNG, JPEG or WebP image.
pub fn is_picture(head: &[u8]) -> bool {
    head.starts_with(b"\x89PNG\r\n\x1a\n") || head.starts_with(b"\xff\xd8\xff") || is_riff(head, b"WEBP")
}

/// The format of an image that is not read, when its beginning names it.
pub fn foreign_image(head: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 14] = [
        (b"GIF8", "a GIF"),
        (b"II*\0", "a TIFF image or a camera's raw file"),
        (b"MM\0*", "a TIFF image or a camera's raw file"),
        (b"II+\0", "a TIFF image"),
        (b"MM\0+", "a TIFF image"),
        (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
        (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
        (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
        (b"\xff\x0a", "a JPEG XL image"),
        (b"8BPS", "a Photoshop file"),
        (b"FUJIFILMCCD-RAW", "a camera's raw file"),
        (b"\x76\x2f\x31\x01", "an OpenEXR image"),
        (b"\0\0\x01\0", "an icon file"),
        (b"qoif", "a QOI image"),
    ];
    if let Some((_, kind)) = KNOWN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(kind);
    }
    // Its two letters begin texts too; the size of one of its headers comes at offset 14.
    if head.starts_with(b"BM") && matches!(head.get(14..18), Some([12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])) {
        return Some("a BMP image");
    }
    if head.get(4..8) == Some(b"ftyp") {
        return Some(match head.get(8..12) {
            Some(b"avif" | b"avis") => "an AVIF image",
            Some(b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" | b"mif1" | b"msf1") => "a HEIC image",
            Some(b"crx ") => "a camera's raw file",
            _ => return None,
        });
    }
    if matches!(head, [b'P', b'1'..=b'7', b' ' | b'\n' | b'\r' | b'\t', ..]) {
        return Some("a PNM image");
    }
    let text = text_of(head);
    let is_svg = text.starts_with(b"<svg") || text.starts_with(b"<?xml") && text.windows(4).any(|w| w == b"<svg");
    is_svg.then_some("an SVG drawing")
}

/// The format of an image that is not read, as the ending of its name (in small letters) tells.
pub fn foreign_ending(ending: &str) -> Option<&'static str> {
    Some(match ending {
        "gif" => "a GIF",
        "bmp" | "dib" => "a BMP image",
        "tif" | "tiff" => "a TIFF image",
        "heic" | "heif" | "hif" => "a HEIC image",
        "avif" => "an AVIF image",
        "jp2" | "j2k" | "jpx" | "jpf" => "a JPEG 2000 image",
        "jxl" => "a JPEG XL image",
        "svg" => "an SVG drawing",
        "psd" | "psb" => "a Photoshop file",
        "cr2" | "cr3" | "nef" | "arw" | "dng" | "orf" | "rw2" | "raf" | "pef" => "a camera's raw file",
        "dcm" => "a DICOM image",
        "tga" => "a TGA image",
        "exr" => "an OpenEXR image",
        "ppm" | "pgm" | "pbm" | "pnm" => "a PNM image",
        _ => return None,
    })
}

fn is_riff(head: &[u8], kind: &[u8; 4]) -> bool {
    head.starts_with(b"RIFF") && head.get(8..12) == Some(kind)
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// The bytes without a byte order mark and leading blanks.
fn text_of(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start()
}
