//! One picture: from a file to the bytes of a square.
//!
//! PNG, JPEG and WebP, told by content and not by name. The orientation of its EXIF data is applied, alpha is dropped
//! (the colour below it stays as it is stored), 16 bits become 8, palettes and CMYK become RGB. The largest square in
//! its middle is cut out and, unless it has the size already, resampled (a triangle filter as wide as the reduction,
//! which is PIL's `BILINEAR`).
//!
//! **Memory.** A picture takes up to 11 bytes a pixel while it is decoded, and its file. Those above 16 megapixels are
//! decoded one at a time, whatever the number of threads: one of the largest takes 1.4 GiB, any other below 200 MiB,
//! computed from bytes a pixel. Beside that each thread holds the bytes of its file, at most 256 MiB.
//!
//! A size that is declared is checked before anything of that size is asked for. A picture is whole if its pixels are,
//! whatever comes after them; see `jpeg` for the format whose decoder does not tell.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use image::imageops::{FilterType, crop_imm, resize};
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Pixel};
use rdarts_text::shown;

use super::facts::Facts;
use super::jpeg;
use super::pnm;
use super::sniff;
use crate::error::DataError;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The smaller of height and width.
    pub shorter_side: u32,
    /// Whether it is stored without colour.
    pub is_gray: bool,
}

/// A picture as a network sees it: the square in its middle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The values, (size, size, channels).
    pub pixels: Vec<u8>,
    /// Its height before that, as it is looked at.
    pub height: usize,
    /// Its width before that.
    pub width: usize,
    /// Whether it is stored without colour.
    pub is_gray: bool,
}

/// The most bytes of a file: no camera writes so much into one of these formats.
const MAX_FILE: u64 = 1 << 28;

/// The most pixels of a picture, 16384x8192 of them.
const MAX_PIXELS: u64 = 1 << 27;

/// The most bytes that a decoder may ask for: eight for each of those pixels.
const MAX_DECODED: u64 = 1 << 30;

/// The most pixels of a picture that is decoded beside others.
const MANY_PIXELS: u64 = 1 << 24;

/// Held while a larger one is in memory.
static LARGE: Mutex<()> = Mutex::new(());

/// Reads the header of a file.
pub fn header(path: &Path) -> Result<Header, DataError> {
    guarded(path, |file| {
        let bytes = read(path, file)?;
        let decoder = decoder(&bytes, file)?;
        let (width, height) = decoder.dimensions();
        Ok(Header { shorter_side: width.min(height), is_gray: !decoder.color_type().has_color() })
    })
}

/// Height and width of a picture as it is stored, PGM and PPM too; of the others only the header is read.
pub fn size(path: &Path) -> Result<[usize; 2], DataError> {
    guarded(path, |file| {
        let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
        let reader = reader.map_err(|e| DataError::unreadable(file, &e))?;
        if reader.format().is_some_and(|format| format != ImageFormat::Pnm) {
            let dimensions = reader.into_dimensions().ok();
            if let Some((width, height)) = dimensions {
                return Ok([height as usize, width as usize]);
            }
        }
        // What is damaged is told in the words of whoever reads it.
        let picture = stored(path)?;
        Ok([picture.height() as usize, picture.width() as usize])
    })
}

/// Reads a file to (size, size, channels), with 1 or 3 channels.
pub fn decode(path: &Path, size: usize, channels: usize) -> Result<(Picture, Facts), DataError> {
    guarded(path, |file| {
        let bytes = read(path, file)?;
        whole(&bytes, file, |picture| {
            let facts = Facts::of(&picture);
            let (height, width) = (picture.height() as usize, picture.width() as usize);
            let is_gray = !picture.color().has_color();
            let pixels = match channels {
                1 => square(&picture.into_luma8(), size as u32),
                _ => square(&picture.into_rgb8(), size as u32),
            };
            (Picture { pixels, height, width, is_gray }, facts)
        })
    })
}

/// Reads a file whole and keeps nothing of its pixels.
pub fn check(path: &Path) -> Result<Facts, DataError> {
    guarded(path, |file| whole(&read(path, file)?, file, |picture| Facts::of(&picture)))
}

/// Reads a file as it is stored, PGM and PPM too: what stereo sets are made of.
pub fn stored(path: &Path) -> Result<DynamicImage, DataError> {
    guarded(path, |file| {
        let bytes = read(path, file)?;
        match pnm::is_pnm(&bytes) {
            true => pnm::picture(&bytes, file),
            false => whole(&bytes, file, |picture| picture),
        }
    })
}

/// The decoders take damaged input without a panic as far as anybody knows; one that is found is a damaged file too.
fn guarded<T>(path: &Path, body: impl FnOnce(&str) -> Result<T, DataError>) -> Result<T, DataError> {
    let file = shown(path);
    catch_unwind(AssertUnwindSafe(|| body(&file)))
        .unwrap_or_else(|_| Err(DataError::Picture { file, reason: DAMAGED.to_owned() }))
}

fn read(path: &Path, file: &str) -> Result<Vec<u8>, DataError> {
    let unreadable = |e: std::io::Error| DataError::unreadable(file, &e);
    let mut bytes = Vec::new();
    let stream = File::open(path).map_err(unreadable)?;
    stream.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 > MAX_FILE {
        true => {
            let (found, limit) = ("its file is longer".to_owned(), format!("{} MiB", MAX_FILE >> 20));
            Err(DataError::LargePicture { file: file.to_owned(), found, limit })
        }
        false => Ok(bytes),
    }
}

fn decoder<'a>(bytes: &'a [u8], file: &str) -> Result<impl ImageDecoder + 'a, DataError> {
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) => format,
        _ => {
            let head = &bytes[..bytes.len().min(sniff::HEAD)];
            if let Some(found) = sniff::foreign_image(head) {
                return Err(DataError::ForeignImage { file: file.to_owned(), found });
            }
            let found = sniff::guess(head);
            return Err(DataError::NotA { file: file.to_owned(), expected: "a PNG, JPEG or WebP image", found });
        }
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| refused(bytes, file, &e))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS || decoder.total_bytes() > MAX_DECODED {
        let (found, limit) = (format!("it declares {width}x{height} pixels"), format!("{MAX_PIXELS} pixels"));
        return Err(DataError::LargePicture { file: file.to_owned(), found, limit });
    }
    Ok(decoder)
}

/// What `take` makes of a picture.
fn whole<T>(bytes: &[u8], file: &str, take: impl FnOnce(DynamicImage) -> T) -> Result<T, DataError> {
    let completed = if bytes.starts_with(JPEG) { jpeg::with_end(bytes) } else { None };
    let (bytes, has_own_end) = (completed.as_deref().unwrap_or(bytes), completed.is_none());
    let cut = |e| match (e, has_own_end) {
        (DataError::Picture { file, .. }, false) => DataError::Picture { file, reason: CUT.to_owned() },
        (e, _) => e,
    };
    let mut decoder = decoder(bytes, file).map_err(cut)?;
    let (width, height) = decoder.dimensions();
    let is_large = u64::from(width) * u64::from(height) > MANY_PIXELS;
    // A decoder that gave up while it held the lock has left nothing behind.
    let _alone = is_large.then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner));
    // A picture whose orientation cannot be read is taken as it lies, as viewers do.
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| cut(refused(bytes, file, &e)))?;
    if bytes.starts_with(JPEG) {
        let shape = (picture.as_bytes(), width as usize, height as usize, usize::from(picture.color().channel_count()));
        let again = |bytes: &[u8]| {
            let made = self::decoder(bytes, file).ok().and_then(|decoder| DynamicImage::from_decoder(decoder).ok());
            made.map(DynamicImage::into_bytes)
        };
        if !jpeg::is_whole(bytes, has_own_end, shape, again) {
            return Err(DataError::Picture { file: file.to_owned(), reason: CUT.to_owned() });
        }
    }
    orientation.into_iter().for_each(|orientation| picture.apply_orientation(orientation));
    Ok(take(picture))
}

const CUT: &str = "it ends before the picture does, so copy it again or remove it";
const DAMAGED: &str = "it is damaged, so copy it again or remove it";
const UNUSUAL: &str = "it is of an unusual kind of its format, so save it again as an ordinary PNG, JPEG or WebP image";

fn refused(bytes: &[u8], file: &str, error: &ImageError) -> DataError {
    let reason = match error {
        ImageError::Limits(_) => {
            let limit = format!("{MAX_PIXELS} pixels or {} MiB", MAX_DECODED >> 20);
            return DataError::LargePicture { file: file.to_owned(), found: "it declares more".to_owned(), limit };
        }
        ImageError::Unsupported(_) => UNUSUAL,
        _ if is_cut(bytes) => CUT,
        _ => DAMAGED,
    };
    DataError::Picture { file: file.to_owned(), reason: reason.to_owned() }
}

/// Whether the end of a file is missing that cannot be decoded.
fn is_cut(bytes: &[u8]) -> bool {
    let riff =
        bytes.get(4..8).and_then(|size| size.first_chunk()).map_or(0, |size| u64::from(u32::from_le_bytes(*size)));
    match bytes {
        [0x89, ..] => !bytes.windows(4).rev().take(64).any(|kind| kind == b"IEND"),
        [b'R', ..] => (bytes.len() as u64) < riff + 8,
        _ => !bytes.windows(2).rev().any(|marker| marker == b"\xff\xd9"),
    }
}

/// The square in the middle, at `size`.
fn square<P: Pixel<Subpixel = u8> + 'static>(picture: &ImageBuffer<P, Vec<u8>>, size: u32) -> Vec<u8> {
    let (width, height) = picture.dimensions();
    let side = width.min(height);
    let middle = crop_imm(picture, (width - side) / 2, (height - side) / 2, side, side);
    match side == size {
        true => middle.to_image().into_raw(),
        false => resize(&*middle, size, size, FilterType::Triangle).into_raw(),
    }
}

const JPEG: &[u8] = b"\xff\xd8\xff";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn files() -> Vec<Vec<u8>> {
        let picture =
            image::RgbImage::from_fn(24, 20, |x, y| image::Rgb([(x * 9) as u8, (y * 11) as u8, (x * y) as u8]));
        let encoded = |format| {
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, format).unwrap();
            bytes.into_inner()
        };
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP].map(encoded).to_vec()
    }

    #[test]
    fn large_pictures_are_decoded_one_at_a_time() {
        use std::sync::mpsc::channel;
        use std::time::Duration;

        let dir = tempfile::tempdir().unwrap();
        let path = |side: u32| dir.path().join(format!("{side}.png"));
        for side in [4096, 4097] {
            image::GrayImage::new(side, side).save(path(side)).unwrap();
        }
        let (done, seen) = channel();
        std::thread::scope(|scope| {
            let another = LARGE.lock().unwrap_or_else(PoisonError::into_inner);
            for side in [4097, 4096] {
                let (done, path) = (done.clone(), path(side));
                scope.spawn(move || done.send((side, decode(&path, 8, 1))).unwrap());
            }
            let black = |side| {
                let picture = Picture { pixels: vec![0; 64], height: side, width: side, is_gray: true };
                Ok((picture, Facts { is_flat: true, ..Facts::default() }))
            };
            assert_eq!(seen.recv().unwrap(), (4096, black(4096)));
            // The other one is a row larger, so it would be there by now.
            assert!(seen.recv_timeout(Duration::from_millis(500)).is_err());
            drop(another);
            assert_eq!(seen.recv().unwrap(), (4097, black(4097)));
        });
    }

    proptest! {
        #[test]
        fn damaged_files_are_decoded_or_refused(
            of in 0usize..3,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            // Most of a file is pixels: every other change goes to its beginning.
            heads in prop::collection::vec((0usize..200, any::<u8>()), 0..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = files().swap_remove(of);
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            for (at, value) in heads {
                let at = at.min(bytes.len() - 1);
                bytes[at] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let outcome = whole(&bytes, "f", |picture| picture);
            if let Ok(picture) = outcome {
                let pixels = u64::from(picture.width()) * u64::from(picture.height());
                prop_assert!(0 < pixels && pixels <= MAX_PIXELS);
                prop_assert_eq!(square(&picture.into_rgb8(), 8).len(), 8 * 8 * 3);
            }
        }
    }
}
