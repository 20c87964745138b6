//! Whether the scan of a JPEG file is whole, whatever end the file has.
//!
//! The decoder fills what is missing with gray, and a gray half is a picture nobody took. A file that has lost only its
//! end marker has all its pixels. The two are told apart by what the pixels depend on: other bytes after the end of a
//! whole scan change nothing, after one that is cut short they become the next pixels.

/// The segments of a file.
struct Walk {
    /// Where the end marker is, or else the end of the file.
    end: usize,
    has_end: bool,
    is_progressive: bool,
    /// Whether there are scans for all coefficients of all components.
    is_covered: bool,
}

/// The bytes of a file with the end marker that it lacks, since the decoder takes the last pixels for missing without.
pub fn with_end(bytes: &[u8]) -> Option<Vec<u8>> {
    // The last byte may be the first of a marker.
    let scan = bytes.strip_suffix(b"\xff").unwrap_or(bytes);
    (!walk(bytes).has_end).then(|| [scan, b"\xff\xd9"].concat())
}

/// Whether the scan of `bytes`, which have an end marker (of their own or not), is whole; `decode` made `pixels` of them.
pub fn is_whole(
    bytes: &[u8],
    has_own_end: bool,
    (pixels, width, height, channels): (&[u8], usize, usize, usize),
    decode: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> bool {
    let walk = walk(bytes);
    match has_own_end {
        // A second decoding takes time, so that a scan with its own end is tried only if it ends suspiciously.
        true if !walk.is_progressive && !repeats_at_the_end(pixels, width, height, channels) => return true,
        false if !walk.is_covered => return false,
        _ => {}
    }
    // One trial where an end marker speaks for the file, else several, since some bytes may be what is there already.
    let trials = [0xb3, 0x00, 0x55].into_iter().take(if has_own_end { 1 } else { 3 });
    trials
        .map(|byte| [&bytes[..walk.end], &[byte; 512], b"\xff\xd9"].concat())
        .all(|changed| decode(&changed).as_deref() == Some(pixels))
}

/// Walks over segments and the scans between them. The first marker of the end counts: thumbnails are in segments.
fn walk(bytes: &[u8]) -> Walk {
    let mut at = 2;
    // For each component, the lowest bit that is known of each coefficient.
    let mut lowest: Vec<(u8, [u8; 64])> = Vec::new();
    let mut found = Walk { end: bytes.len(), has_end: false, is_progressive: false, is_covered: false };
    // Up to the next marker; within a scan, ff 00 is a byte of it and ff d0 to ff d7 are its restarts.
    while let Some(next) =
        bytes[at..].windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff))
    {
        let marker = bytes[at + next + 1];
        if marker == 0xd9 {
            (found.end, found.has_end) = (at + next, true);
            break;
        }
        at += next + 2;
        if matches!(marker, 0x01 | 0xd8) {
            continue;
        }
        let segment = bytes.get(at..at + 2).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])));
        let Some(segment) = segment.and_then(|length| bytes.get(at..at + length)).filter(|segment| segment.len() > 1)
        else {
            break;
        };
        at += segment.len();
        match marker {
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                found.is_progressive = marker == 0xc2;
                let n = segment.get(7).copied().unwrap_or(0);
                lowest =
                    segment.get(8..).unwrap_or_default().chunks(3).take(n.into()).map(|c| (c[0], [16; 64])).collect();
            }
            0xda => scan(segment, found.is_progressive, &mut lowest),
            _ => {}
        }
    }
    found.is_covered = !lowest.is_empty() && lowest.iter().all(|(_, bits)| bits.iter().all(|&bit| bit == 0));
    found
}

/// Notes what a scan holds.
fn scan(segment: &[u8], is_progressive: bool, lowest: &mut [(u8, [u8; 64])]) {
    let n = segment.get(2).map_or(0, |&n| usize::from(n));
    let Some([first, last, bits]) = segment.get(3 + 2 * n..6 + 2 * n) else { return };
    let (range, bit) = if is_progressive { (*first..=(*last).min(63), bits & 15) } else { (0..=63, 0) };
    let ids = || segment[3..].chunks(2).take(n).map(|component| component[0]);
    for (_, known) in lowest.iter_mut().filter(|(id, _)| ids().any(|other| other == *id)) {
        range.clone().for_each(|k| known[usize::from(k)] = bit);
    }
}

/// Whether the last block of pixels is one near it once more, as what a decoder makes of nothing: of the same row, or
/// of the row of blocks that was decoded before.
fn repeats_at_the_end(pixels: &[u8], width: usize, height: usize, channels: usize) -> bool {
    const SIDE: usize = 8;
    if width < 3 * SIDE || height < 3 * SIDE {
        return true;
    }
    let (x, y) = ((width / SIDE - 1) * SIDE, (height / SIDE - 1) * SIDE);
    // The pixels at the edge of a block have something of the next one's colour.
    let row = |x: usize, y: usize| &pixels[(y * width + x + 2) * channels..][..(SIDE - 4) * channels];
    let is_same = |dx: usize, dy: usize| (2..SIDE - 2).all(|i| row(x, y + i) == row(x - dx, y + i - dy));
    [(SIDE, 0), (2 * SIDE, 0), (0, SIDE), (0, 2 * SIDE)].into_iter().any(|(dx, dy)| is_same(dx, dy))
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

    use super::*;

    fn decoded(bytes: &[u8]) -> Option<DynamicImage> {
        image::load_from_memory_with_format(bytes, ImageFormat::Jpeg).ok()
    }

    fn is_whole(bytes: &[u8]) -> bool {
        let completed = with_end(bytes);
        let (bytes, has_own_end) = (completed.as_deref().unwrap_or(bytes), completed.is_none());
        decoded(bytes).is_some_and(|picture| {
            let shape = (picture.as_bytes(), picture.width() as usize, picture.height() as usize, 3);
            super::is_whole(bytes, has_own_end, shape, |bytes| decoded(bytes).map(DynamicImage::into_bytes))
        })
    }

    fn jpeg(width: u32, height: u32, quality: u8) -> Vec<u8> {
        let picture = RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 9 + y) as u8, (y * 11) as u8, (x * y + (x ^ y) * 5) as u8])
        });
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(&picture).unwrap();
        bytes
    }

    #[test]
    fn a_scan_is_whole_whatever_comes_after_it_and_cut_whatever_end_it_has() {
        for (width, height, quality) in [(64, 48, 90), (24, 20, 75), (7, 9, 95), (100, 3, 80), (40, 200, 30)] {
            let whole = jpeg(width, height, quality);
            let n = whole.len();
            assert!(is_whole(&whole));
            for end in [&b""[..], b"\xff", b"\0\0\0", b"garbage", b"\xff\xd9\xff\xd9", b"\xff\xd9 and more"] {
                assert!(is_whole(&[&whole[..n - 2], end].concat()), "{width}x{height} {end:?}");
            }
            // The last bytes of a scan may hold less than a pixel shows.
            for cut in (n / 2..n - 12).step_by(7) {
                assert!(!is_whole(&whole[..cut]), "{width}x{height} {cut} of {n}");
            }
        }
        // Restarts after every block, and after as many as there are.
        let one = jpeg(8, 8, 90);
        let scan = one.windows(2).position(|pair| pair == b"\xff\xda").unwrap();
        for interval in [1, 2] {
            let restarts = [&one[..scan], &[0xff, 0xdd, 0, 4, 0, interval], &one[scan..]].concat();
            assert!(is_whole(&restarts) && is_whole(&restarts[..restarts.len() - 2]));
        }
        let whole = jpeg(64, 48, 90);
        let n = whole.len();
        for cut in [n / 2, n * 2 / 3, n * 9 / 10] {
            assert!(!is_whole(&[&whole[..cut], b"\xff\xd9"].concat()), "{cut} of {n} with an end marker");
        }
    }

    #[test]
    fn the_end_is_not_that_of_a_thumbnail() {
        let jpeg = jpeg(24, 20, 75);
        let at = |bytes: &[u8]| {
            let walk = walk(bytes);
            (walk.end, walk.has_end, walk.is_covered)
        };
        assert_eq!(at(&jpeg), (jpeg.len() - 2, true, true));
        assert!((2..jpeg.len()).all(|length| !at(&jpeg[..length]).1));
        // A whole picture within a segment of the first.
        let segment = [&[0xff, 0xe1][..], &(jpeg.len() as u16 + 2).to_be_bytes(), &jpeg].concat();
        let with_thumbnail = [&jpeg[..2], &segment, &jpeg[2..]].concat();
        assert_eq!(at(&with_thumbnail), (with_thumbnail.len() - 2, true, true));
        assert!(!at(&with_thumbnail[..with_thumbnail.len() - 2]).1);
    }

    #[test]
    fn a_progressive_file_has_scans_for_every_bit() {
        let frame = b"\xff\xc2\0\x0b\x08\0\x08\0\x08\x01\x01\x11\0";
        let scan =
            |first: u8, last: u8, bits: u8| [&b"\xff\xda\0\x08\x01\x01\0"[..], &[first, last, bits], b"scan"].concat();
        let covered = |scans: &[Vec<u8>]| walk(&[&b"\xff\xd8"[..], frame, &scans.concat()].concat()).is_covered;
        let all = [scan(0, 0, 1), scan(1, 63, 2), scan(0, 0, 0x10), scan(1, 63, 0x21), scan(1, 63, 0x10)];
        assert!(covered(&all));
        assert!((0..5).all(|n| !covered(&all[..n])));
        assert!(covered(&[scan(0, 0, 0), scan(1, 5, 0), scan(6, 63, 0)]));
    }
}
