//! Middlebury: a directory a scene, of any of its years.
//!
//! ```text
//! 2014          im0.png, im1.png, disp0.pfm or disp0GT.pfm, mask0nocc.png, calib.txt
//! 2005, 2006    view1.png, view5.png, disp1.png        disparities in full resolution: times the reduction in size
//! 2001, 2003    im2, im6, disp2 (im3, im4, disp3 of Tsukuba; im0, im1, disp0 of Map) as .png, .ppm, .pgm
//! ```
//!
//! The scale of disparities that are stored as bytes follows from the size of the picture: [`SIZES_2001`],
//! [`HEIGHTS_2006`]. All of them are mostly used for tests.

use std::path::{Path, PathBuf};

use image::DynamicImage;
use rdarts_text::shown;

use super::files::{Mask, PairFiles, Sign};
use super::{Listed, entries, missing, no_pairs, picture};
use crate::error::DataError;
use crate::formats::disparity::{self, Coding, Map};
use crate::formats::picture::stored;

/// Width of the scenes of 2001 and 2003 from one to another, and bytes for a pixel of disparity: Map, Tsukuba, the others
/// of 2001, and those of 2003 in quarter, half and full size.
const SIZES_2001: [(usize, usize, f32); 6] =
    [(280, 290, 8.0), (384, 384, 16.0), (425, 440, 8.0), (450, 450, 4.0), (900, 900, 2.0), (1800, 1800, 1.0)];

/// Height of the scenes of 2005 and 2006 in full size, half and a third, and bytes for a pixel of disparity.
const HEIGHTS_2006: [(usize, usize, f32); 3] = [(1110, 1110, 1.0), (555, 555, 2.0), (370, 370, 3.0)];

/// Left view, right view and disparities of the scenes whose disparities are bytes.
const SCALED: [[&str; 3]; 4] =
    [["im2", "im6", "disp2"], ["im3", "im4", "disp3"], ["im0", "im1", "disp0"], ["view1", "view5", "disp1"]];

/// The scenes of a directory: itself, or those in it, or those in directories of it that are called as collections are. No
/// others are looked into: this is asked of any directory, and those of images may hold a million.
pub fn scenes(dir: &Path) -> Vec<(String, PathBuf)> {
    if is_scene(dir) {
        let own = dir.file_name().and_then(|name| name.to_str()).unwrap_or("scene");
        return vec![(own.to_owned(), dir.to_owned())];
    }
    let children = directories(dir);
    let found: Vec<_> = children.iter().filter(|(_, path)| is_scene(path)).cloned().collect();
    if !found.is_empty() {
        return found;
    }
    let collections = children.iter().filter(|(name, _)| is_collection(name));
    let below = collections
        .flat_map(|(of, path)| directories(path).into_iter().map(move |(name, path)| (format!("{of}/{name}"), path)));
    below.filter(|(_, path)| is_scene(path)).collect()
}

fn directories(dir: &Path) -> Vec<(String, PathBuf)> {
    entries(dir).into_iter().filter(|(_, path)| path.is_dir()).collect()
}

/// `trainingQ` of the third evaluation, `scenes2014`, `2006`.
fn is_collection(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["training", "scenes", "middlebury"].iter().any(|word| name.contains(word)) || name.starts_with("20")
}

fn is_scene(dir: &Path) -> bool {
    truth_2014(dir).is_some()
        || SCALED.iter().any(|names| picture(dir, names[0]).is_some() && picture(dir, names[2]).is_some())
}

fn truth_2014(dir: &Path) -> Option<PathBuf> {
    let truth = ["disp0GT.pfm", "disp0.pfm"].map(|name| dir.join(name)).into_iter().find(|path| path.is_file());
    truth.filter(|_| picture(dir, "im0").is_some())
}

/// The pairs of all scenes of a directory.
pub fn list(dir: &Path) -> Result<Listed, DataError> {
    let pairs = scenes(dir).into_iter().map(|(name, path)| pair(name, &path)).collect::<Result<Vec<_>, _>>()?;
    match pairs.is_empty() {
        true => Err(no_pairs(
            dir,
            "a directory for each scene with im0.png, im1.png and disp0.pfm, or those of older years",
        )),
        false => Ok(Listed { train: pairs, test: Vec::new(), test_fraction: Some(1.0) }),
    }
}

/// How a picture of gray bytes holds disparities, by the name of its left view and its rows and columns; or of which size it
/// is, as the end of a sentence, if its scale does not follow from that.
fn coding(left: &str, [height, width]: [usize; 2]) -> Result<Coding, String> {
    let (side, sizes, what) = match left {
        "view1" => (height, &HEIGHTS_2006[..], "height"),
        _ => (width, &SIZES_2001[..], "width"),
    };
    let scale = sizes.iter().find(|(low, high, _)| (*low..=*high).contains(&side)).map(|&(.., scale)| scale);
    scale.map(Coding::Scaled).ok_or_else(|| {
        format!(
            "the {what} {side}, from which the scale of its disparities does not follow: scenes of its years have {}",
            sizes.iter().map(|(low, ..)| low.to_string()).collect::<Vec<_>>().join(", ")
        )
    })
}

/// Reads the disparities of a left view as any set stores them: PFM, KITTI's 16 bits, Sintel's colours, or the bytes of
/// Middlebury's older scenes, whose scale follows from their size. Which of them it was comes with them.
///
/// # Errors
/// One sentence if the file cannot be read, nothing says of which scale its bytes are, or its colours mean no disparities.
pub fn read_truth(path: &Path, left: &Path) -> Result<(Map, Coding), DataError> {
    if disparity::is_pfm(path) {
        return Ok((disparity::read(path, Coding::Pfm)?, Coding::Pfm));
    }
    let (picture, file) = (stored(path)?, shown(path));
    let fault = |problem: String| DataError::StereoFile { file: file.clone(), problem };
    let size = [picture.height() as usize, picture.width() as usize];
    let coding = match &picture {
        _ if disparity::is_bytes(&picture) => {
            let stem = left.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned());
            coding(&stem, size).map_err(|problem| {
                fault(format!(
                    "is stored as gray of 8 bits and has {problem}; other disparities should be a PFM file, gray of 16 bits \
                     (256 for each pixel) or colour of 8 bits (as Sintel's)"
                ))
            })?
        }
        DynamicImage::ImageRgb8(_) => Coding::Sintel,
        DynamicImage::ImageLuma16(_) => Coding::Kitti,
        _ => Coding::Any,
    };
    let map = disparity::of_picture(&picture, coding, &file)?;
    let is_outside = |(i, d): &(usize, &f32)| **d > (i % size[1]) as f32;
    let outside = map.values.iter().enumerate().filter(is_outside).count();
    if coding == Coding::Sintel && 3 * outside > map.values.len() {
        return Err(fault(format!(
            "is stored as colour of 8 bits, and taken for Sintel's disparities {:.0} % of its pixels would lie outside the right \
             view: it may be a photograph, or disparities coloured to be looked at",
            100.0 * outside as f64 / map.values.len() as f64
        )));
    }
    Ok((map, coding))
}

fn pair(name: String, dir: &Path) -> Result<PairFiles, DataError> {
    let view = |stem: &str, what: &str| picture(dir, stem).ok_or_else(|| missing(&name, what, &dir.join(stem)));
    let group = name.clone();
    if let Some(truth) = truth_2014(dir) {
        let (left, right) = (view("im0", "left view")?, view("im1", "right view")?);
        let mask = picture(dir, "mask0nocc").map_or(Mask::None, Mask::Full);
        let calib = Some(dir.join("calib.txt")).filter(|path| path.is_file());
        let (coding, sign) = (Coding::Pfm, Sign::Positive);
        return Ok(PairFiles { name, group, left, right, truth, coding, sign, mask, calib });
    }
    let has = |names: &&[&str; 3]| picture(dir, names[0]).is_some() && picture(dir, names[2]).is_some();
    let names = SCALED.iter().find(has).ok_or_else(|| no_pairs(dir, "the views and disparities of a scene"))?;
    let (left, right) = (view(names[0], "left view")?, view(names[1], "right view")?);
    let truth = view(names[2], "disparities")?;
    let (height, width, _) = disparity::read_mask(&truth)?;
    let coding = coding(names[0], [height, width])
        .map_err(|problem| DataError::StereoFile { file: shown(&truth), problem: format!("has {problem}") })?;
    Ok(PairFiles { name, group, left, right, truth, coding, sign: Sign::Positive, mask: Mask::None, calib: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_by_the_scale_of_their_size_and_other_codings_by_their_kind() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let gray = |width: u32, height: u32, name: &str| {
            let picture = image::GrayImage::from_fn(width, height, |x, _| image::Luma([(x % 256) as u8]));
            if name.ends_with(".pgm") {
                let header = format!("P5\n{width} {height}\n255\n").into_bytes();
                return std::fs::write(at(name), [header, picture.into_raw()].concat()).unwrap();
            }
            picture.save(at(name)).unwrap();
        };
        let read = |truth: &str, left: &str| read_truth(&at(truth), &at(left)).map(|(map, _)| map);
        // Teddy, Tsukuba, Map; a scene of 2006 in a third, with any width.
        for (width, height, scale, left, truth) in [
            (450, 3, 4.0, "im2.png", "disp2.png"),
            (384, 3, 16.0, "im3.png", "disp3.pgm"),
            (284, 3, 8.0, "im0.png", "disp0.png"),
            (413, 370, 3.0, "view1.png", "disp1.png"),
        ] {
            gray(width, height, truth);
            let map = read(truth, left).unwrap();
            assert_eq!((map.height, map.width), (height as usize, width as usize));
            assert!(map.values[0].is_nan());
            assert_eq!(map.values[1..4], [1.0 / scale, 2.0 / scale, 3.0 / scale], "{truth}");
        }
        // The same as colour of gray pixels; colours that are none are Sintel's.
        let colours = |change: u8| {
            image::RgbImage::from_fn(450, 2, |x, _| image::Rgb([(x / 8) as u8, (x / 8) as u8, (x / 8) as u8 ^ change]))
        };
        colours(0).save(at("gray.png")).unwrap();
        assert_eq!(read("gray.png", "im2.png").unwrap().values[20], 0.5);
        colours(1).save(at("sintel.png")).unwrap();
        assert_eq!(read("sintel.png", "im2.png").unwrap().values[20], 8.0 + 2.0 / 64.0 + 3.0 / 16_384.0);
        for (width, share) in [(450, "100 %"), (1242, "39 %")] {
            image::RgbImage::from_pixel(width, 2, image::Rgb([120, 90, 60])).save(at("photograph.png")).unwrap();
            let message = read("photograph.png", "im2.png").unwrap_err().to_string();
            assert!(message.contains(&format!("{share} of its pixels would lie outside the right view")), "{message}");
        }
        gray(100, 3, "other.png");
        let message = read("other.png", "left.png").unwrap_err().to_string();
        assert!(message.contains("gray of 8 bits and has the width 100, from which the scale"), "{message}");
        assert!(message.ends_with("or colour of 8 bits (as Sintel's)"), "{message}");
        assert!(read("none.png", "im2.png").unwrap_err().to_string().starts_with("cannot read "));
    }
}
