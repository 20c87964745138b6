//! Stereo sets as they lie on disks: real sample pairs where they are there, layouts made of synthetic scenes, and what is
//! said of each that is wrong.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rdarts_data::Watch;
use rdarts_data::stereo::{Coding, Pair, Scenes, StereoOptions, encode, open, open_with, stereo_at, stereo_check};

#[path = "../../../tests/skip.rs"]
mod skip;

fn samples() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/stereo");
    match dir.is_dir() {
        true => Some(dir),
        false => {
            skip::skip("../shared absent", "no sample pairs of the stereo sets");
            None
        }
    }
}

/// Links `from` to `to` in a directory, with all directories on the way.
fn link(from: PathBuf, dir: &Path, to: &str) {
    let to = dir.join(to);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(from.canonicalize().unwrap(), to).unwrap();
}

/// Without warping, warped, and with the wrong sign.
fn errors(pair: &Pair, only_visible: bool) -> [f64; 3] {
    let error = pair.photo_error(only_visible).unwrap();
    [error.unwarped, error.warped, error.opposite.unwrap()]
}

/// To the digits that are printed in the table of facts, rounded there.
fn near(found: [f64; 3], printed: [f64; 3]) {
    println!("{found:.3?} {printed:?}");
    let steps = [0.005, 0.005, 0.05];
    for ((found, printed), step) in found.iter().zip(printed).zip(steps) {
        assert!((found - printed).abs() <= step + 1e-9, "{found} and not {printed}");
    }
}

fn range_and_mean(pair: &Pair) -> (f32, f32, f64) {
    let (low, high) = pair.range().unwrap();
    let known: Vec<f64> = pair.disparity.iter().filter(|d| !d.is_nan()).map(|&d| f64::from(d)).collect();
    (low, high, known.iter().sum::<f64>() / known.len() as f64)
}

fn valid_percent(pair: &Pair) -> f64 {
    100.0 * pair.n_valid() as f64 / (pair.height * pair.width) as f64
}

#[test]
fn flyingthings3d_is_read_whole_and_as_the_subset() {
    let Some(samples) = samples() else { return };
    let from = |name: &str| samples.join("flyingthings3d_A0032_0006").join(name);
    let dir = tempfile::tempdir().unwrap();
    link(from("left.png"), dir.path(), "frames_cleanpass/TEST/A/0032/left/0006.png");
    link(from("right.png"), dir.path(), "frames_cleanpass/TEST/A/0032/right/0006.png");
    link(from("disp_left.pfm"), dir.path(), "disparity/TEST/A/0032/left/0006.pfm");
    assert_eq!(stereo_at(dir.path()), Ok("flyingthings3d"));
    let data = open("flyingthings3d", Some(dir.path())).unwrap();
    assert_eq!((data.train.n(), data.test.n(), &data.test.name_of(0)[..]), (0, 1, "TEST/A/0032/0006"));
    let pair = data.test.pair(0).unwrap();
    assert_eq!((pair.height, pair.width, pair.n_valid()), (540, 960, 540 * 960));
    let (low, high, mean) = range_and_mean(&pair);
    assert!((low - 1.21).abs() < 0.01 && (high - 130.36).abs() < 0.01 && (mean - 62.6).abs() < 0.05);
    near(errors(&pair, false), [27.65, 7.23, 37.6]);

    let dir = tempfile::tempdir().unwrap();
    for (name, to) in [
        ("left.png", "image_clean/left/0000000.png"),
        ("right.png", "image_clean/right/0000000.png"),
        ("disp_left.pfm", "disparity/left/0000000.pfm"),
        ("occ_left.png", "disparity_occlusions/left/0000000.png"),
    ] {
        link(from(name), dir.path(), &format!("val/{to}"));
    }
    assert_eq!(stereo_at(dir.path()), Ok("flyingthings3d-subset"));
    let pair = open("flyingthings3d-subset", Some(dir.path())).unwrap().test.pair(0).unwrap();
    let [unwarped, warped, _] = errors(&pair, true);
    println!("non-occluded {unwarped} -> {warped}");
    assert!((unwarped - 23.95).abs() <= 0.005 && (warped - 1.14).abs() <= 0.005, "{unwarped} -> {warped}");
}

#[test]
fn kitti_2015_is_read() {
    let Some(samples) = samples() else { return };
    let from = |name: &str| samples.join("kitti2015_000046_10").join(name);
    let dir = tempfile::tempdir().unwrap();
    link(from("left.png"), dir.path(), "training/image_2/000046_10.png");
    link(from("right.png"), dir.path(), "training/image_3/000046_10.png");
    link(from("left.png"), dir.path(), "training/image_2/000046_11.png");
    link(from("disp_occ_0.png"), dir.path(), "training/disp_occ_0/000046_10.png");
    assert_eq!(stereo_at(dir.path()), Ok("kitti2015"));
    let options = StereoOptions { test_fraction: Some(0.0), ..StereoOptions::USUAL };
    let data = open_with("kitti2015", Some(dir.path()), &options).unwrap();
    assert_eq!((data.train.n(), data.test.n(), &data.train.name_of(0)[..]), (1, 0, "000046_10"));
    let pair = data.train.pair(0).unwrap();
    assert_eq!((pair.height, pair.width), (375, 1242));
    assert!((valid_percent(&pair) - 11.8).abs() < 0.05);
    let (low, high, mean) = range_and_mean(&pair);
    assert!((low - 4.87).abs() < 0.006 && (high - 65.74).abs() < 0.006 && (mean - 31.1).abs() < 0.05);
    near(errors(&pair, false), [42.10, 11.38, 47.0]);
}

#[test]
fn middlebury_scenes_of_three_years_are_read_from_one_directory() {
    let Some(samples) = samples() else { return };
    assert_eq!(stereo_at(&samples), Ok("middlebury"));
    let data = open("middlebury", Some(&samples)).unwrap();
    let names: Vec<String> = (0..data.test.n()).map(|i| data.test.name_of(i)).collect();
    assert_eq!(names, ["middlebury2001_tsukuba", "middlebury2003_teddy", "middlebury2014_motorcycleQ"]);
    let pairs: Vec<Pair> = (0..3).map(|i| data.test.pair(i).unwrap()).collect();
    let expected = [
        ((288, 384), 79.3, (5.0, 14.0, 6.8), [22.59, 4.63, 30.4]),
        ((375, 450), 98.0, (12.5, 52.75, 27.4), [37.73, 7.21, 46.7]),
        ((497, 741), 97.9, (9.18, 62.88, 36.4), [41.78, 9.40, 50.8]),
    ];
    for (pair, (size, percent, (low, high, mean), printed)) in pairs.iter().zip(expected) {
        assert_eq!((pair.height, pair.width), size);
        assert!((valid_percent(pair) - percent).abs() < 0.05, "{}", valid_percent(pair));
        let (found_low, found_high, found_mean) = range_and_mean(pair);
        assert!((found_low - low).abs() < 0.006 && (found_high - high).abs() < 0.006, "{found_low}..{found_high}");
        assert!((found_mean - mean).abs() < 0.051, "{found_mean}");
        near(errors(pair, false), printed);
    }
    let [unwarped, warped, _] = errors(&pairs[2], true);
    assert!((unwarped - 40.96).abs() <= 0.005 && (warped - 5.62).abs() <= 0.005, "{unwarped} -> {warped}");
    assert_eq!(stereo_check("middlebury", Some(&samples), &rdarts_data::Silent).left_out, [""; 0]);
    // One scene by itself.
    assert_eq!(open("middlebury", Some(&samples.join("middlebury2003_teddy"))).unwrap().test.n(), 1);
}

/// A scene as files.
struct Files {
    dir: tempfile::TempDir,
}

fn png(height: usize, width: usize, bytes: &[u8]) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_raw(width as u32, height as u32, bytes.to_vec()).unwrap();
    picture.write_to(&mut out, image::ImageFormat::Png).unwrap();
    out.into_inner()
}

fn scene(index: u64) -> Pair {
    Scenes::new(32, 64, 16.0, 3).unwrap().pair(index)
}

impl Files {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn views(&self, left: &str, right: &str, pair: &Pair) {
        self.write(left, &png(pair.height, pair.width, &pair.left));
        self.write(right, &png(pair.height, pair.width, &pair.right));
    }

    fn mask(&self, name: &str, pair: &Pair, value: impl Fn(bool) -> u8) {
        let bytes: Vec<u8> = pair.visible.iter().flatten().flat_map(|&visible| [value(visible); 3]).collect();
        self.write(name, &png(pair.height, pair.width, &bytes));
    }

    fn folder(pairs: &[(&str, Pair)]) -> Self {
        let files = Self::new();
        for (name, pair) in pairs {
            files.views(&format!("left/{name}.png"), &format!("right/{name}.png"), pair);
            let truth = encode(pair.width, &pair.disparity, Coding::Pfm).unwrap();
            files.write(&format!("disp/{name}.pfm"), &truth);
        }
        files
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn problem(&self) -> String {
        let options = StereoOptions { test_fraction: Some(0.0), ..StereoOptions::USUAL };
        let message = open_with("stereo-folder", Some(self.path()), &options).unwrap_err().to_string();
        // What is said on opening is said by the check of all pairs too.
        let checked = stereo_check("stereo-folder", Some(self.path()), &rdarts_data::Silent);
        assert_eq!(checked.problems[0].to_string(), message);
        message.replace(&self.path().display().to_string(), "DIR")
    }
}

#[test]
fn sintel_is_read_with_both_masks_and_split_by_scenes() {
    let files = Files::new();
    let mut pairs = Vec::new();
    for (i, (scene_name, frame)) in [("alley", 1), ("alley", 2), ("cave", 1), ("market", 1)].into_iter().enumerate() {
        let mut pair = scene(i as u64);
        let name = |what: &str| format!("training/{what}/{scene_name}/frame_{frame:04}.png");
        files.views(&name("clean_left"), &name("clean_right"), &pair);
        files.views(&name("final_left"), &name("final_right"), &pair);
        files.write(&name("disparities"), &encode(pair.width, &pair.disparity, Coding::Sintel).unwrap());
        let outside: Vec<u8> =
            (0..32 * 64).flat_map(|i| [255 * u8::from(((i % 64) as f32) < pair.disparity[i]); 3]).collect();
        files.mask(&name("occlusions"), &pair, |visible| 255 * u8::from(!visible));
        files.write(&name("outofframe"), &png(32, 64, &outside));
        pair.disparity.iter_mut().for_each(|d| *d = (*d * 16_384.0).round() / 16_384.0);
        pairs.push(pair);
    }
    for name in ["sintel-stereo", "sintel-stereo-final"] {
        let data = open(name, Some(files.path())).unwrap();
        assert_eq!((data.train.n(), data.test.n()), (0, 4));
        assert!((0..4).all(|i| data.test.pair(i).unwrap() == pairs[i]));
    }
    assert_eq!(stereo_at(files.path()), Ok("sintel-stereo"));
    for seed in 0..5 {
        let options = StereoOptions { test_fraction: Some(0.5), split_seed: seed, ..StereoOptions::USUAL };
        let data = open_with("sintel-stereo", Some(files.path()), &options).unwrap();
        assert_eq!((data.train.n(), data.test.n()), (2, 2));
        let scene_of = |name: String| name.split('/').next().unwrap().to_owned();
        let train: Vec<String> = (0..2).map(|i| scene_of(data.train.name_of(i))).collect();
        assert!((0..2).all(|i| !train.contains(&scene_of(data.test.name_of(i)))), "{train:?}");
    }
}

#[test]
fn flyingthings3d_is_read_from_webp_in_either_pass_and_with_either_sign() {
    let files = Files::new();
    let webp = |bytes: &[u8]| {
        let mut out = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::from_raw(64, 32, bytes.to_vec()).unwrap();
        picture.write_to(&mut out, image::ImageFormat::WebP).unwrap();
        out.into_inner()
    };
    let views = |at: &str, name: &str, pair: &Pair| {
        files.write(&format!("{at}/left/{name}.webp"), &webp(&pair.left));
        files.write(&format!("{at}/right/{name}.webp"), &webp(&pair.right));
    };
    let truth = |name: &str, pair: &Pair, sign: f32| {
        let values: Vec<f32> = pair.disparity.iter().map(|d| sign * d).collect();
        files.write(name, &encode(64, &values, Coding::Pfm).unwrap());
    };
    let pairs = [0, 1, 2, 3].map(scene);
    for (pass, of) in [("cleanpass_webp", [0, 1]), ("finalpass", [2, 3])] {
        views(&format!("frames_{pass}/TRAIN/A/0000"), "0006", &pairs[of[0]]);
        views(&format!("frames_{pass}/TEST/C/0149"), "0015", &pairs[of[1]]);
    }
    truth("disparity/TRAIN/A/0000/left/0006.pfm", &pairs[0], 1.0);
    truth("disparity/TEST/C/0149/left/0015.pfm", &pairs[1], 1.0);
    let bare = |pair: &Pair| Pair { visible: None, ..pair.clone() };
    let clean = open("flyingthings3d", Some(files.path())).unwrap();
    assert_eq!((clean.train.n(), clean.test.n()), (1, 1));
    assert_eq!((clean.train.pair(0).unwrap(), clean.test.pair(0).unwrap()), (bare(&pairs[0]), bare(&pairs[1])));
    let last = open("flyingthings3d-final", Some(files.path())).unwrap();
    assert_eq!(last.test.name_of(0), "TEST/C/0149/0015");
    assert_eq!(last.test.pair(0).unwrap(), Pair { disparity: pairs[1].disparity.clone(), ..bare(&pairs[3]) });

    // The subset stores the other sign.
    for (part, pair) in [("train", &pairs[0]), ("val", &pairs[1])] {
        views(&format!("FlyingThings3D_subset/{part}/image_clean_webp"), "0000007", pair);
        truth(&format!("FlyingThings3D_subset/{part}/disparity/left/0000007.pfm"), pair, -1.0);
        files.mask(&format!("FlyingThings3D_subset/{part}/disparity_occlusions/left/0000007.png"), pair, |visible| {
            255 * u8::from(!visible)
        });
    }
    let subset = open("flyingthings3d-subset", Some(files.path())).unwrap();
    assert_eq!((subset.train.pair(0).unwrap(), subset.test.pair(0).unwrap()), (pairs[0].clone(), pairs[1].clone()));
}

#[test]
fn kitti_2012_tells_what_is_visible_by_its_two_maps() {
    let files = Files::new();
    let pair = scene(0);
    for i in 0..5 {
        files.views(&format!("training/colored_0/{i}_10.png"), &format!("training/colored_1/{i}_10.png"), &pair);
        files.write(&format!("training/disp_occ/{i}_10.png"), &encode(64, &pair.disparity, Coding::Kitti).unwrap());
        let seen: Vec<f32> = pair
            .disparity
            .iter()
            .zip(pair.visible.as_ref().unwrap())
            .map(|(&d, &v)| if v { d } else { f32::NAN })
            .collect();
        files.write(&format!("training/disp_noc/{i}_10.png"), &encode(64, &seen, Coding::Kitti).unwrap());
    }
    let data = open("kitti2012", Some(files.path())).unwrap();
    assert_eq!((data.train.n(), data.test.n()), (4, 1));
    assert_eq!(data.train.pair(0).unwrap().visible, pair.visible);
    let message = open("kitti2015", Some(files.path())).unwrap_err().to_string();
    assert!(message.ends_with("are those of kitti2012, not those of kitti2015: use --data kitti2012"), "{message}");
}

#[test]
fn middlebury_2006_is_scaled_by_its_height() {
    let files = Files::new();
    let pair = Scenes::new(370, 410, 40.0, 1).unwrap().pair(0);
    files.views("scenes2006/Aloe/view1.png", "scenes2006/Aloe/view5.png", &pair);
    let bytes: Vec<u8> = pair.disparity.iter().map(|d| (3.0 * d).round() as u8).collect();
    let gray = image::GrayImage::from_raw(410, 370, bytes.clone()).unwrap();
    gray.save(files.path().join("scenes2006/Aloe/disp1.png")).unwrap();
    let data = open("middlebury", Some(files.path())).unwrap();
    assert_eq!(data.test.name_of(0), "scenes2006/Aloe");
    let found = data.test.pair(0).unwrap();
    assert!(found.disparity.iter().zip(&bytes).all(|(d, &byte)| *d == f32::from(byte) / 3.0));
    image::GrayImage::new(410, 380).save(files.path().join("scenes2006/Aloe/disp1.png")).unwrap();
    let message = open("middlebury", Some(files.path())).unwrap_err().to_string();
    assert!(
        message.contains("has the height 380, from which the scale of its disparities does not follow"),
        "{message}"
    );
}

#[test]
fn a_folder_is_read_with_every_coding_and_with_parts() {
    let files = Files::new();
    let pair = scene(1);
    for part in ["train", "test"] {
        files.views(&format!("{part}/left/a.png"), &format!("{part}/right/a.png"), &pair);
        files.mask(&format!("{part}/occ/a.png"), &pair, |visible| u8::from(!visible));
    }
    files.write("train/disp/a.png", &encode(64, &pair.disparity, Coding::Kitti).unwrap());
    // All negative, as some tools write them.
    let negative: Vec<f32> = pair.disparity.iter().map(|d| -d).collect();
    files.write("test/disp/a.pfm", &encode(64, &negative, Coding::Pfm).unwrap());
    assert_eq!(stereo_at(files.path()), Ok("stereo-folder"));
    let data = open("stereo-folder", Some(files.path())).unwrap();
    assert_eq!((data.train.n(), data.test.n(), &data.train.name_of(0)[..]), (1, 1, "train/a"));
    assert_eq!(data.test.pair(0).unwrap(), pair);
    let train = data.train.pair(0).unwrap();
    assert!(train.disparity.iter().zip(&pair.disparity).all(|(a, b)| (a - b).abs() <= 0.5 / 256.0 + 1e-6));
    let names: Vec<String> = (0..10).map(|i| format!("p{i}")).collect();
    let ten = Files::folder(&names.iter().map(|name| (name.as_str(), scene(0))).collect::<Vec<_>>());
    let data = open("stereo-folder", Some(ten.path())).unwrap();
    assert_eq!((data.train.n(), data.test.n()), (8, 2));
    let kept = data.train.kept().unwrap();
    assert!((0..8).all(|i| kept.name_of(i) == data.train.name_of(i) && kept.pair(i) == data.train.pair(i)));
    let options = StereoOptions { test_fraction: Some(1.5), ..StereoOptions::USUAL };
    let message = open_with("stereo-folder", Some(ten.path()), &options).unwrap_err().to_string();
    assert_eq!(message, "the part of the pairs that is kept for tests, 1.5 should be from 0 to 1");
}

#[test]
fn each_thing_that_is_wrong_with_a_pair_has_its_sentence() {
    let pair = scene(2);
    let folder = || Files::folder(&[("a", pair.clone())]);

    let files = folder();
    files.write("right/a.png", &png(32, 60, &pair.right[..3 * 32 * 60]));
    assert_eq!(
        files.problem(),
        "the pair a has a left view of 32x64 and a right view of 32x60 pixels (height x width), they should be equal"
    );

    let files = folder();
    std::fs::remove_file(files.path().join("right/a.png")).unwrap();
    assert_eq!(
        files.problem(),
        "the pair a has no right view: DIR/right/a is missing, copy it there or remove the pair"
    );

    let files = folder();
    std::fs::remove_file(files.path().join("disp/a.pfm")).unwrap();
    assert_eq!(
        files.problem(),
        "the pair a has no disparities: DIR/disp/a.pfm is missing, copy it there or remove the pair"
    );

    let with_truth = |change: &dyn Fn(usize, f32) -> f32| {
        let changed: Vec<f32> = pair.disparity.iter().enumerate().map(|(i, &d)| change(i, d)).collect();
        let files = folder();
        files.write("disp/a.pfm", &encode(64, &changed, Coding::Pfm).unwrap());
        files
    };
    assert_eq!(
        with_truth(&|_, _| f32::NAN).problem(),
        "the pair a has no pixel whose disparity is known in DIR/disp/a.pfm: remove the pair"
    );
    assert_eq!(
        with_truth(&|_, d| 1000.0 * d).problem(),
        "the pair a has disparities beyond the width of 64 pixels at 2048 of 2048 pixels in DIR/disp/a.pfm: they should be \
         in pixels of the left view"
    );
    assert_eq!(
        with_truth(&|i, d| if i < 7 { -d } else { d }).problem(),
        "the pair a has negative disparities at 7 of 2048 pixels in DIR/disp/a.pfm: left pixel x should match right pixel \
         x - d with d above 0"
    );

    let files = folder();
    files.write("disp/a.pfm", b"P6\n64 32\n255\n");
    assert!(files.problem().starts_with("DIR/disp/a.pfm is no PFM file: it should begin with Pf"));

    let files = folder();
    files.write("left/a.png", b"<!DOCTYPE html>");
    assert!(files.problem().contains("is not a PNG, JPEG or WebP image, it is an HTML page"), "{}", files.problem());

    // What is infinite or nowhere in the picture is unknown, and no mistake.
    let files = with_truth(&|i, d| match i {
        0 => f32::INFINITY,
        1 => f32::NEG_INFINITY,
        2 => f32::NAN,
        3 => 65.0,
        _ => d,
    });
    let read = open("stereo-folder", Some(files.path())).unwrap().train.pair(0).unwrap();
    assert_eq!(read.n_valid(), 32 * 64 - 4);
    assert!(read.disparity[..4].iter().all(|d| d.is_nan()));
}

/// Keeps what is told.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Watch for Notes {
    fn progress(&self, _done: usize, _total: usize) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

#[test]
fn exchanged_views_are_noticed_and_right_ones_are_not() {
    let notes = |files: &Files| {
        let notes = Notes::default();
        let options = StereoOptions { watch: &notes, ..StereoOptions::USUAL };
        open_with("stereo-folder", Some(files.path()), &options).unwrap();
        let told = notes.0.into_inner().unwrap();
        assert_eq!(stereo_check("stereo-folder", Some(files.path()), &rdarts_data::Silent).left_out, told);
        told
    };
    for index in 0..10 {
        let pair = scene(index);
        assert_eq!(notes(&Files::folder(&[("a", pair.clone())])), [""; 0], "{index}");
        let exchanged = Pair { left: pair.right.clone(), right: pair.left.clone(), ..pair };
        let told = notes(&Files::folder(&[("a", exchanged)]));
        assert_eq!(told.len(), 1, "{index}");
        assert!(
            told[0].starts_with("the disparity of the pair a seems to have the wrong sign, or left and right"),
            "{told:?}"
        );
    }
}

#[test]
fn names_and_directories_of_other_kinds_have_their_sentences() {
    let message = |name: &str| open(name, None).unwrap_err().to_string();
    assert!(
        message("cifar10")
            .starts_with("cifar10 is a set of single images with classes, but disparity needs stereo pairs")
    );
    assert!(
        message("sintel-sterio")
            .contains("the nearest name is 'sintel-stereo' and all names are: stereo-scenes, flyingthings3d")
    );
    assert!(message("stereo-folder").contains("give the path of a folder in place of a name"));
    let empty = tempfile::tempdir().unwrap();
    let message = stereo_at(empty.path()).unwrap_err().to_string();
    assert!(
        message.ends_with(
            "holds no stereo pairs, it should hold left/, right/ and disp/ with files of the same names, or \
        train/ and test/ with these or be the directory of a stereo set"
        ),
        "{message}"
    );
    assert!(open("kitti2015", Some(empty.path())).unwrap_err().to_string().starts_with("kitti2015 is not in "));
    // And the other way round.
    for name in ["stereo-scenes", "sintel-stereo", "stereo-folder"] {
        let message = rdarts_data::open(name, None).unwrap_err().to_string();
        assert!(
            message.starts_with(&format!(
                "{name} is a set of stereo pairs, which have no classes: it is for estimating disparity"
            )),
            "{message}"
        );
    }
    let files = Files::folder(&[("a", scene(0))]);
    let message = rdarts_data::recognise(files.path()).unwrap_err().to_string();
    assert!(message.contains("(stereo-folder) is a set of stereo pairs"), "{message}");
}

#[test]
fn a_run_directory_among_the_pairs_is_none_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Scenes::new(32, 64, 8.0, 1).unwrap().pair(0);
    let scene = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        for (name, view) in [("im0.png", &pair.left), ("im1.png", &pair.right)] {
            image::RgbImage::from_raw(64, 32, view.clone()).unwrap().save(path.join(name)).unwrap();
        }
        std::fs::write(path.join("disp0.pfm"), encode(64, &pair.disparity, Coding::Pfm).unwrap()).unwrap();
        path
    };
    scene("a");
    let run = scene("run");
    assert_eq!(open("middlebury", Some(dir.path())).unwrap().test.n(), 2);
    std::fs::write(run.join("format"), "rdarts-run 1\n").unwrap();
    std::fs::write(run.join("spec.toml"), "").unwrap();
    let data = open("middlebury", Some(dir.path())).unwrap();
    assert_eq!((data.test.n(), &data.test.name_of(0)[..]), (1, "a"));
}
