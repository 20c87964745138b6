//! The IDX file format of MNIST and its relatives, plain or in gzip (told by content, not by name).
//!
//! Layout, big endian:
//!
//! ```text
//! offset 0   00 00 08 03   two zeros, 08 = unsigned bytes, 03 = three dimensions   (labels: 00 00 08 01)
//! offset 4   n             32 bits
//! offset 8   height        32 bits, images only
//! offset 12  width         32 bits, images only
//! offset 16  pixels        (n, height, width), 0 = black          (labels: from offset 8, one byte each)
//! ```
//!
//! A header is not believed: memory grows with the bytes that arrive, never with the size declared, and
//! no more than one byte beyond that size is ever read. Not here: other element types, other ranks.

use std::io::{self, BufRead, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::read::{GZIP_MAGIC, is_damage, is_gzip, open};
use super::sniff::{self, hex};
use crate::error::DataError;

/// The most bytes of content one file may declare: 90 times Fashion-MNIST, and still in reach of a desktop's memory.
pub const MAX_CONTENT: u64 = 1 << 32;

/// The content of a file of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxImages {
    /// Number of images.
    pub n: usize,
    /// Height of an image in pixels.
    pub height: usize,
    /// Width of an image in pixels.
    pub width: usize,
    /// Gray values, (n, height, width).
    pub pixels: Vec<u8>,
}

/// Reads a file of images.
pub fn read_images(path: &Path) -> Result<IdxImages, DataError> {
    images_of(open(path)?, &path.display().to_string())
}

/// Reads a file of labels, each below `n_classes`.
pub fn read_labels(path: &Path, n_classes: usize) -> Result<Vec<u8>, DataError> {
    labels_of(open(path)?, &path.display().to_string(), n_classes)
}

/// The first ten labels of a file, packed or not.
pub fn first_labels(path: &Path) -> Option<Vec<u8>> {
    let file = open(path).ok()?;
    let mut head = [0; 18];
    match is_gzip(path) {
        true => GzDecoder::new(file).read_exact(&mut head).ok()?,
        false => file.take(18).read_exact(&mut head).ok()?,
    }
    Some(head[8..].to_vec())
}

/// Reads images from a whole stream, plain or gzip; `file` is its name in messages.
pub fn images_of(stream: impl BufRead, file: &str) -> Result<IdxImages, DataError> {
    whole(stream, file, |reader| take_images(reader, file))
}

/// Reads labels from a whole stream, plain or gzip; `file` is its name in messages.
pub fn labels_of(stream: impl BufRead, file: &str, n_classes: usize) -> Result<Vec<u8>, DataError> {
    whole(stream, file, |reader| take_labels(reader, file, n_classes))
}

/// Unpacks the stream if it is gzip, lets `parse` read it, and checks that nothing is left.
pub fn whole<T>(
    mut stream: impl BufRead,
    file: &str,
    parse: impl FnOnce(&mut dyn Read) -> Result<T, DataError>,
) -> Result<T, DataError> {
    let start = stream.fill_buf().map_err(|e| read_error(file, &e))?;
    if !start.starts_with(&GZIP_MAGIC) {
        return parse_to_end(&mut stream, file, "the size its header declares", "content", parse);
    }
    let mut unpacked = GzDecoder::new(stream);
    let parsed = parse_to_end(&mut unpacked, file, "the size its header declares", "content", parse)?;
    parse_to_end(&mut unpacked.into_inner(), file, "its checksum", "gzip stream", |_| Ok(parsed))
}

/// Reads one IDX file of images and leaves the reader behind its last pixel.
pub fn take_images(reader: &mut dyn Read, file: &str) -> Result<IdxImages, DataError> {
    let [n, height, width] = take_header(reader, file, "images")?;
    let pixels = take_content(reader, file, 16, &[n, height, width])?;
    Ok(IdxImages { n: n as usize, height: height as usize, width: width as usize, pixels })
}

/// Reads one IDX file of labels and leaves the reader behind its last label.
pub fn take_labels(reader: &mut dyn Read, file: &str, n_classes: usize) -> Result<Vec<u8>, DataError> {
    let [n] = take_header(reader, file, "labels")?;
    let labels = take_content(reader, file, 8, &[n])?;
    match labels.iter().position(|&label| usize::from(label) >= n_classes) {
        None => Ok(labels),
        Some(i) => Err(DataError::Label { file: file.to_owned(), label: labels[i].into(), offset: 8 + i, n_classes }),
    }
}

fn read_error(file: &str, error: &io::Error) -> DataError {
    match is_damage(error) {
        true => DataError::Gzip { file: file.to_owned(), reason: error.to_string() },
        false => DataError::unreadable(file, error),
    }
}

/// Lets `parse` read, then reads once more: that is also what makes the decoder compare the checksum.
fn parse_to_end<T>(
    reader: &mut dyn Read,
    file: &str,
    end: &str,
    part: &'static str,
    parse: impl FnOnce(&mut dyn Read) -> Result<T, DataError>,
) -> Result<T, DataError> {
    let parsed = parse(reader)?;
    match up_to(reader, file, 1)?.len() {
        0 => Ok(parsed),
        _ => Err(DataError::Trailing { file: file.to_owned(), end: end.to_owned(), part }),
    }
}

/// At most `n` bytes, fewer only at the end of the stream.
fn up_to(reader: &mut dyn Read, file: &str, n: u64) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    reader.take(n).read_to_end(&mut bytes).map_err(|e| read_error(file, &e))?;
    Ok(bytes)
}

/// The dimensions, after the magic number was found right.
fn take_header<const RANK: usize>(
    reader: &mut dyn Read,
    file: &str,
    expected: &'static str,
) -> Result<[u32; RANK], DataError> {
    let magic = [0, 0, 8, RANK as u8];
    let header = up_to(reader, file, 4 + 4 * RANK as u64)?;
    if !header.starts_with(&magic) {
        return Err(DataError::Foreign {
            file: file.to_owned(),
            expected,
            magic: hex(&magic),
            found: looks_like(&header),
        });
    }
    let needed = 4 + 4 * RANK as u64;
    if (header.len() as u64) < needed {
        let (file, held) = (file.to_owned(), header.len() as u64);
        return Err(DataError::Truncated { file, part: "header", needed, held });
    }
    let field = |i: usize| header[4 + 4 * i..8 + 4 * i].iter().fold(0, |value, &byte| value << 8 | u32::from(byte));
    Ok(std::array::from_fn(field))
}

/// The bytes that the dimensions ask for.
fn take_content(reader: &mut dyn Read, file: &str, offset: u64, dims: &[u32]) -> Result<Vec<u8>, DataError> {
    let size = dims.iter().try_fold(1u64, |size, &dim| size.checked_mul(dim.into()));
    let Some(size) = size.filter(|size| (1..=MAX_CONTENT).contains(size)) else {
        let shape = dims.iter().map(u32::to_string).collect::<Vec<_>>().join(" x ");
        return Err(DataError::Shape { file: file.to_owned(), shape, limit: MAX_CONTENT });
    };
    let content = up_to(reader, file, size)?;
    let held = content.len() as u64;
    if held < size {
        let (needed, held) = (offset + size, offset + held);
        return Err(DataError::Truncated { file: file.to_owned(), part: "content", needed, held });
    }
    Ok(content)
}

/// What a file is that is not the IDX file expected, from its first bytes.
fn looks_like(head: &[u8]) -> String {
    const IDX: [(&[u8], &str); 4] = [
        (&[0, 0, 8, 1], "an IDX file of labels"),
        (&[0, 0, 8, 3], "an IDX file of images"),
        (&[0, 0], "an IDX file of another element type or rank"),
        (&GZIP_MAGIC, "gzip within gzip"),
    ];
    let kind = IDX.iter().find(|(magic, _)| head.starts_with(magic));
    kind.map_or_else(|| sniff::guess(head), |(_, kind)| (*kind).to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn images_file(n: u32, height: u32, width: u32, pixels: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, 3];
        [n, height, width].iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
        bytes.extend(pixels);
        bytes
    }

    fn labels_file(labels: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, 1];
        bytes.extend((labels.len() as u32).to_be_bytes());
        bytes.extend(labels);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn images_error(bytes: &[u8]) -> String {
        images_of(bytes, "f.idx").unwrap_err().to_string()
    }

    #[test]
    fn files_on_disk_come_back_as_written_plain_and_packed() {
        let dir = tempfile::tempdir().unwrap();
        let pixels: Vec<u8> = (0..2 * 3 * 5).map(|i| i * 7).collect();
        let (images, labels) = (images_file(2, 3, 5, &pixels), labels_file(&[0, 9, 3]));
        // The names lie about the packing on purpose: only the content counts.
        for (name, bytes) in [("a.gz", images.clone()), ("b", gzip(&images))] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let read = read_images(&path).unwrap();
            assert_eq!((read.n, read.height, read.width, &read.pixels), (2, 3, 5, &pixels));
        }
        for (name, bytes) in [("c.gz", labels.clone()), ("d", gzip(&labels))] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read_labels(&path, 10).unwrap(), [0, 9, 3]);
        }
        let missing = read_images(&dir.path().join("none")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read ") && missing.contains("none: "), "{missing}");
        let directory = read_images(dir.path()).unwrap_err().to_string();
        assert!(directory.starts_with("cannot read "), "{directory}");
    }

    #[test]
    fn files_of_other_formats_are_named_for_what_they_are() {
        let rows: [(&[u8], &str); 12] = [
            (b"", "empty"),
            (b"\x89PNG\r\n\x1a\n and more", "a PNG image"),
            (b"\xff\xd8\xff\xe0 JFIF", "a JPEG image"),
            (b"\n<!DOCTYPE html><html>", "an HTML page, perhaps of a failed download"),
            (b"\xef\xbb\xbf<HTML><body>..", "an HTML page, perhaps of a failed download"),
            (b"version https://git-lfs", "a Git LFS pointer instead of the file itself"),
            (b"404: Not Found\n", "a text file"),
            (b"PK\x03\x04", "a zip archive"),
            (&[0, 0, 8, 1, 0, 0, 0, 1, 5], "an IDX file of labels"),
            (&[0, 0, 13, 3], "an IDX file of another element type or rank"),
            (&[3, 8, 0, 0, 1], "a file that begins with 03 08 00 00"),
            (&[0xff], "a file that begins with ff"),
        ];
        for (bytes, kind) in rows {
            let expected =
                format!("f.idx is not an IDX file of images: it should begin with the bytes 00 00 08 03 and is {kind}");
            assert_eq!(images_error(bytes), expected);
            assert_eq!(images_error(&gzip(bytes)), expected);
        }
        let twice = gzip(&gzip(&images_file(1, 1, 1, &[0])));
        assert!(images_error(&twice).ends_with("and is gzip within gzip"));
        let swapped = labels_of(&images_file(1, 1, 1, &[0])[..], "l", 10).unwrap_err().to_string();
        assert!(swapped.contains("00 00 08 01") && swapped.ends_with("and is an IDX file of images"), "{swapped}");
    }

    #[test]
    fn short_long_and_absurd_files_are_refused_with_their_sizes() {
        let good = images_file(2, 2, 2, &[1; 8]);
        let rows = [
            (
                good[..10].to_vec(),
                "f.idx is cut short: its header needs 16 bytes and the file ends after 10, fetch it again",
            ),
            (
                good[..23].to_vec(),
                "f.idx is cut short: its content needs 24 bytes and the file ends after 23, fetch it again",
            ),
            (
                [&good[..], b"x"].concat(),
                "f.idx goes on after the size its header declares, where its content should end: fetch it again",
            ),
            (
                images_file(0, 28, 28, &[]),
                "f.idx declares 0 x 28 x 28 in its header at offset 4, it should declare between 1 and 4294967296 bytes",
            ),
            (
                images_file(u32::MAX, u32::MAX, u32::MAX, &[1; 50]),
                "f.idx declares 4294967295 x 4294967295 x 4294967295 in its header at offset 4, it should declare \
                 between 1 and 4294967296 bytes",
            ),
            (
                images_file(1 << 12, 1 << 10, 1 << 10, &[1; 50]),
                "f.idx is cut short: its content needs 4294967312 bytes and the file ends after 66, fetch it again",
            ),
        ];
        for (bytes, message) in rows {
            assert_eq!(images_error(&bytes), message);
            assert_eq!(images_error(&gzip(&bytes)), message);
        }
    }

    #[test]
    fn damaged_gzip_is_refused_wherever_the_damage_is() {
        let good = gzip(&images_file(9, 9, 9, &(0..729).map(|i| (i * i % 251) as u8).collect::<Vec<_>>()));
        assert!(images_of(&good[..], "f.idx").is_ok());
        for end in [2, 5, 12, good.len() / 2, good.len() - 8, good.len() - 1] {
            let message = images_error(&good[..end]);
            assert!(message.starts_with("f.idx is a damaged or incomplete gzip file ("), "{end}: {message}");
        }
        let mut wrong_checksum = good.clone();
        let at = good.len() - 6;
        wrong_checksum[at] ^= 1;
        assert!(matches!(images_of(&wrong_checksum[..], "f").unwrap_err(), DataError::Gzip { .. }));
        let more = [&good[..], b"x"].concat();
        assert_eq!(
            images_error(&more),
            "f.idx goes on after its checksum, where its gzip stream should end: fetch it again"
        );
    }

    #[test]
    fn a_label_beyond_the_classes_is_named_with_its_offset() {
        let error = labels_of(&labels_file(&[1, 9, 10, 3])[..], "l.idx", 10).unwrap_err();
        assert_eq!(error.to_string(), "l.idx has the label 10 at offset 10, labels should be below 10");
    }

    #[test]
    fn an_endless_stream_is_read_one_byte_beyond_its_declared_size() {
        let mut header = &images_file(3, 2, 2, &[])[..];
        let mut endless = (&mut header).chain(io::repeat(7).take(1 << 40));
        let error = parse_to_end(&mut endless, "f", "the end", "content", |r| take_images(r, "f")).unwrap_err();
        assert!(matches!(error, DataError::Trailing { .. }));
        assert_eq!(endless.get_ref().1.limit(), (1 << 40) - 13);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for stream in [bytes.clone(), gzip(&bytes), [&GZIP_MAGIC[..], &bytes].concat()] {
                let _ = images_of(&stream[..], "f");
                let _ = labels_of(&stream[..], "f", 10);
            }
        }

        // A size declared and not delivered must end in an error at once, whatever it is.
        #[test]
        fn any_header_gives_its_content_or_an_error(
            n in any::<u32>(), height in any::<u32>(), width in any::<u32>(),
            pixels in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let small = |x: u32| if x > u32::MAX / 2 { x } else { x % 5 };
            let (n, height, width) = (small(n), small(height), small(width));
            let size = u128::from(n) * u128::from(height) * u128::from(width);
            let read = images_of(&images_file(n, height, width, &pixels)[..], "f");
            prop_assert_eq!(read.is_ok(), size == pixels.len() as u128 && size > 0);
        }

        #[test]
        fn every_valid_file_comes_back(
            n in 1usize..5, height in 1usize..6, width in 1usize..6, seed in any::<u8>(), packed in any::<bool>(),
        ) {
            let value = |i: usize| (i as u8).wrapping_mul(31).wrapping_add(seed);
            let pixels: Vec<u8> = (0..n * height * width).map(value).collect();
            let file = images_file(n as u32, height as u32, width as u32, &pixels);
            let file = if packed { gzip(&file) } else { file };
            prop_assert_eq!(images_of(&file[..], "f").unwrap(), IdxImages { n, height, width, pixels });
        }
    }
}
