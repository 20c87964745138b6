//! Folders as people have them: what their directories mean, and what is passed over.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;

use image::{ImageFormat, Luma, Rgb, RgbImage};
use rdarts_data::{Dataset, Options, Silent, Watch, check, open, open_with};
use tempfile::{TempDir, tempdir};

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Watch for Notes {
    fn progress(&self, _done: usize, _total: usize) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

fn encoded(number: u32, format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(12, 12, |x, y| Rgb([(number * 37 + x * 9) as u8, (y * 20) as u8, (x * y) as u8]));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn write(root: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A folder of these entries: `dir/` is an empty directory, `dir/*4` four pictures, all else a file of another kind.
fn folder(entries: &[&str]) -> TempDir {
    let root = tempdir().unwrap();
    let mut number = 0;
    for entry in entries {
        if let Some((dir, n)) = entry.split_once("/*").or(entry.strip_prefix('*').map(|n| (".", n))) {
            for i in 0..n.parse().unwrap() {
                number += 1;
                write(root.path(), &format!("{dir}/{i}.jpg"), encoded(number, ImageFormat::Jpeg));
            }
        } else if entry.ends_with('/') {
            fs::create_dir_all(root.path().join(entry)).unwrap();
        } else {
            write(root.path(), entry, "text");
        }
    }
    root
}

/// The data and the notes, or the sentence, with the folder called ROOT.
fn looked_into(root: &Path) -> Result<(Dataset, Vec<String>), String> {
    let notes = Notes::default();
    let named = |text: String| text.replace(&root.display().to_string(), "ROOT");
    let data = open_with("folder", Some(root), &Options { watch: &notes, ..Options::USUAL });
    let checked = check("folder", Some(root), &Silent);
    match data {
        Ok(data) => {
            assert_eq!(checked.problems, [], "check finds what opening does not");
            let notes: Vec<String> = notes.0.into_inner().unwrap();
            assert_eq!(checked.left_out, notes);
            assert_eq!(checked.n_files, data.train.n + data.test.n);
            Ok((data, notes.into_iter().map(named).collect()))
        }
        Err(problem) => {
            assert_eq!(checked.problems.first(), Some(&problem));
            Err(named(problem.to_string()))
        }
    }
}

/// The classes, how many images of each are for training and for tests, and the notes.
#[track_caller]
fn is(entries: &[&str], classes: &[&str], train: &[usize], test: &[usize], notes: &[&str]) {
    let root = folder(entries);
    let (data, found) = looked_into(root.path()).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(data.classes, classes);
    assert_eq!((data.train.counts(classes.len()), data.test.counts(classes.len())), (train.to_vec(), test.to_vec()));
    assert_eq!(found, notes);
}

#[track_caller]
fn refuses(entries: &[&str], sentence: &str) {
    let root = folder(entries);
    match looked_into(root.path()) {
        Ok((data, _)) => panic!("taken for {:?}", data.classes),
        Err(found) => assert_eq!(found, sentence),
    }
}

#[test]
fn parts_have_any_usual_name_and_case() {
    for (train, test) in [
        ("train", "dev"),
        ("train", "validation"),
        ("Train", "Valid"),
        ("TRAIN", "TEST"),
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("train_images", "test_images"),
        ("train", "hold-out"),
        ("train", "test1"),
        ("train2017", "val2017"),
        ("seg_train", "seg_test"),
        ("flowers-train", "flowers-eval"),
        ("TrainSet", "PrivateTest"),
    ] {
        let entries =
            ["cat", "dog"].map(|class| [format!("{train}/{class}/*4"), format!("{test}/{class}/*2")]).concat();
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        is(&entries, &["cat", "dog"], &[4, 4], &[2, 2], &[]);
    }
}

#[test]
fn parts_lie_in_directories_around_them() {
    let inner = ["train/a/*3", "train/b/*3", "test/a/*1", "test/b/*1"];
    for around in ["my-set", "my-set/my-set", "archive/data/my-set", "chest_xray"] {
        let mut entries: Vec<String> = inner.iter().map(|entry| format!("{around}/{entry}")).collect();
        entries.extend(["__MACOSX/my-set/._x.jpg".to_owned(), "README.md".to_owned()]);
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        is(
            &entries,
            &["a", "b"],
            &[3, 3],
            &[1, 1],
            &[
                "ROOT/README.md was left out: it is no PNG, JPEG or WebP image of a class",
                "ROOT/__MACOSX was left out: it is hidden or made by a system or a program",
            ],
        );
    }
    // One directory too high, and a class's images one deeper.
    is(&["PetImages/Cat/*5", "PetImages/Dog/*5"], &["Cat", "Dog"], &[4, 4], &[1, 1], &[]);
    is(&["test/Cat/*5", "test/Dog/*5"], &["Cat", "Dog"], &[4, 4], &[1, 1], &[]);
    is(&["cat/images/*5", "dog/images/*5"], &["cat", "dog"], &[4, 4], &[1, 1], &[]);
    is(&["cat/cat/*5", "dog/Dog/*5"], &["cat", "dog"], &[4, 4], &[1, 1], &[]);
    // A part in a directory of its own name, as Kaggle's archives are unpacked.
    let twice = ["train/train/a/*3", "train/train/b/*3", "test/test/a/*1", "test/test/b/*1"];
    is(&twice, &["a", "b"], &[3, 3], &[1, 1], &[]);
}

#[test]
fn a_part_that_is_not_used_is_named_with_the_way_to_use_it() {
    let three = ["train/a/*3", "train/b/*3", "val/a/*2", "val/b/*2", "test/a/*1", "test/b/*1"];
    is(
        &three,
        &["a", "b"],
        &[3, 3],
        &[1, 1],
        &[
            "ROOT/val (4 images) is not used, since ROOT/test is there for tests and a search takes its validation images \
             from ROOT/train. To use it too, put its images into the classes of ROOT/train",
        ],
    );
    // Tests of nobody's labels: the validation part takes their place, or a fifth of each class.
    let unlabelled = "ROOT/test (7 images) is not used: its images are in no directory of a class. To use them, sort them \
                      into directories as in ROOT/train";
    is(
        &["train/a/*3", "train/b/*3", "valid/a/*2", "valid/b/*2", "test/*7"],
        &["a", "b"],
        &[3, 3],
        &[2, 2],
        &[unlabelled],
    );
    is(&["train/a/*5", "train/b/*5", "test/*7"], &["a", "b"], &[4, 4], &[1, 1], &[unlabelled]);
    is(&["train/a/*5", "train/b/*5", "test/unknown/*7"], &["a", "b"], &[4, 4], &[1, 1], &[unlabelled]);
    is(
        &["asl_train/asl_train/A/*5", "asl_train/asl_train/B/*5", "asl_test/asl_test/*2"],
        &["A", "B"],
        &[4, 4],
        &[1, 1],
        &[
            "ROOT/asl_test (2 images) is not used: its images are in no directory of a class. To use them, sort them into \
             directories as in ROOT/asl_train",
        ],
    );
    is(
        &[
            "seg_train/seg_train/sea/*3",
            "seg_train/seg_train/ice/*3",
            "seg_test/seg_test/sea/*1",
            "seg_test/seg_test/ice/*1",
            "seg_pred/seg_pred/*9",
        ],
        &["ice", "sea"],
        &[3, 3],
        &[1, 1],
        &[
            "ROOT/seg_pred (9 images) is not used: its images are in no directory of a class. To use them, sort them into \
             directories as in ROOT/seg_train",
        ],
    );
    is(
        &["train/a/*3", "train/b/*3", "test/a/*1", "test/b/*1", "extra/*6"],
        &["a", "b"],
        &[3, 3],
        &[1, 1],
        &["ROOT/extra (6 images) is not used: its name is not that of a part of a data set (train, validation, test)"],
    );
}

#[test]
fn published_data_sets_are_read_as_they_are_unpacked() {
    // Tiny ImageNet: images one deeper, lists of boxes beside them, a validation part in a table.
    is(
        &[
            "tiny-imagenet-200/train/n01/images/*4",
            "tiny-imagenet-200/train/n01/n01_boxes.txt",
            "tiny-imagenet-200/train/n02/images/*4",
            "tiny-imagenet-200/train/n02/n02_boxes.txt",
            "tiny-imagenet-200/val/images/*3",
            "tiny-imagenet-200/val/val_annotations.txt",
            "tiny-imagenet-200/wnids.txt",
        ],
        &["n01", "n02"],
        &[3, 3],
        &[1, 1],
        &[
            "ROOT/tiny-imagenet-200/val (3 images) is not used: its images are in no directory of a class. To use them, \
             sort them into directories as in ROOT/tiny-imagenet-200/train",
            "3 entries such as ROOT/tiny-imagenet-200/wnids.txt were left out: they are no PNG, JPEG or WebP images of a \
             class",
        ],
    );
    // ImageNet: images three directories deep, annotations beside them.
    is(
        &[
            "ILSVRC/Annotations/CLS-LOC/train/n01/x.xml",
            "ILSVRC/Data/CLS-LOC/train/n01/*5",
            "ILSVRC/Data/CLS-LOC/train/n02/*5",
            "ILSVRC/Data/CLS-LOC/val/*3",
            "ILSVRC/ImageSets/train.txt",
        ],
        &["n01", "n02"],
        &[4, 4],
        &[1, 1],
        &[
            "ROOT/ILSVRC/Data/CLS-LOC/val (3 images) is not used: its images are in no directory of a class. To use them, \
             sort them into directories as in ROOT/ILSVRC/Data/CLS-LOC/train",
            "2 entries such as ROOT/ILSVRC/Annotations were left out: they are no PNG, JPEG or WebP images of a class",
        ],
    );
    // Roboflow.
    is(
        &["train/a/*3", "train/b/*3", "valid/a/*1", "valid/b/*1", "README.roboflow.txt"],
        &["a", "b"],
        &[3, 3],
        &[1, 1],
        &["ROOT/README.roboflow.txt was left out: it is no PNG, JPEG or WebP image of a class"],
    );
    // FER-2013.
    is(
        &[
            "Training/Happy/*3",
            "Training/Sad/*3",
            "PublicTest/Happy/*1",
            "PublicTest/Sad/*1",
            "PrivateTest/Happy/*2",
            "PrivateTest/Sad/*2",
        ],
        &["Happy", "Sad"],
        &[3, 3],
        &[2, 2],
        &["ROOT/PublicTest (2 images) is not used, since ROOT/PrivateTest is there for tests and a search takes its \
             validation images from ROOT/Training. To use it too, put its images into the classes of ROOT/Training"],
    );
    // Flowers of TensorFlow's tutorials.
    is(
        &["flower_photos/LICENSE.txt", "flower_photos/roses/*5", "flower_photos/tulips/*5"],
        &["roses", "tulips"],
        &[4, 4],
        &[1, 1],
        &["ROOT/flower_photos/LICENSE.txt was left out: it is no PNG, JPEG or WebP image of a class"],
    );
    // Annotations beside classes, and within one.
    is(
        &["cat/*5", "dog/*5", "dog/xml/1.xml", "annotations/cat/1.xml"],
        &["cat", "dog"],
        &[4, 4],
        &[1, 1],
        &["2 entries such as ROOT/annotations were left out: they are no PNG, JPEG or WebP images of a class"],
    );
}

#[test]
fn classes_of_two_parts_are_compared_as_people_do() {
    is(
        &["Train/Cat/*3", "Train/Golden Retriever/*3", "TEST/cat/*1", "TEST/golden_retriever/*1"],
        &["Cat", "Golden Retriever"],
        &[3, 3],
        &[1, 1],
        &[],
    );
    refuses(
        &["train/cat/*3", "train/dog/*3", "test/cat/*1", "test/cow/*1", "test/dog/*1"],
        "ROOT/test/cow has no counterpart in ROOT/train, both should have the same classes",
    );
    // Numbers are names of classes.
    is(&["0/*5", "1/*5", "10/*5"], &["0", "1", "10"], &[4, 4, 4], &[1, 1, 1], &[]);
    is(&["train/0/*3", "train/1/*3", "test/0/*1", "test/1/*1"], &["0", "1"], &[3, 3], &[1, 1], &[]);
    // Beside classes that are not parts, the name of a part is that of a class.
    is(&["train/*5", "bus/*5"], &["bus", "train"], &[4, 4], &[1, 1], &[]);
    is(&["test_tube/*5", "train_station/*5"], &["test_tube", "train_station"], &[4, 4], &[1, 1], &[]);
}

#[test]
fn what_can_be_read_in_two_ways_is_asked_and_no_advice_makes_it_worse() {
    let unsorted = |n: usize, parts: &str, first: &str| {
        format!(
            "ROOT does not say which class an image is of: {n} images in {parts} are in no directory of a class. Sort them \
             into directories, one for each class, such as {first}/CLASS/IMAGE.png"
        )
    };
    // Kaggle's cats and dogs, unpacked in two ways; the forms in which objects are marked for detectors.
    let both = unsorted(14, "ROOT/train and ROOT/test1", "ROOT/train");
    refuses(&["train/*9", "test1/*5"], &both);
    refuses(&["train/train/*9", "test1/test1/*5"], &both);
    refuses(
        &["train/images/*9", "train/labels/1.txt", "valid/images/*2", "valid/labels/1.txt"],
        &unsorted(11, "ROOT/train and ROOT/valid", "ROOT/train"),
    );
    refuses(
        &["images/train/*9", "images/val/*2", "labels/train/1.txt", "labels/val/1.txt"],
        &unsorted(11, "ROOT/images/train and ROOT/images/val", "ROOT/images/train").replacen(
            "ROOT ",
            "ROOT/images ",
            1,
        ),
    );
    // Images and their masks, alone and in parts; nothing but images.
    refuses(&["images/*5", "masks/*5"], &unsorted(10, "ROOT", "ROOT"));
    refuses(
        &["train/images/*4", "train/masks/*4", "test/images/*1", "test/masks/*1"],
        &unsorted(10, "ROOT/train and ROOT/test", "ROOT/train"),
    );
    refuses(&["*5"], &unsorted(5, "ROOT", "ROOT"));
    refuses(&["train/*9"], &unsorted(9, "ROOT/train", "ROOT/train"));
    refuses(
        &["train/a/*3", "train/b/*3", "bus/*3"],
        "ROOT can be read in two ways: ROOT/train may be the part to train on or a class beside ROOT/bus. To use the part \
         alone, name it as the folder; if it is a class, put its images directly into it",
    );
    refuses(
        &["train1/a/*3", "train1/b/*3", "train2/a/*3", "train2/b/*3"],
        "ROOT holds two parts to train on, ROOT/train1 and ROOT/train2: merge them, or give one a name that is no part's",
    );
    refuses(
        &["val/a/*3", "val/b/*3", "test/a/*3", "test/b/*3"],
        "ROOT holds no part to train on, only test and val: call one of them train, or name it as the folder if its images \
         are for training and tests",
    );
    refuses(
        &["cat/train/*3", "cat/test/*3", "dog/train/*3", "dog/test/*3"],
        "ROOT holds classes that hold parts (ROOT/cat/test): it should be the other way round, such as train/cat",
    );
    refuses(
        &["mine/cat/*3", "mine/dog/*3", "yours/cat/*3", "yours/dog/*3"],
        "ROOT holds directories that hold directories of images (ROOT/mine, ROOT/yours), so it is not clear what the \
         classes are. If these are parts of the data, call them train and test; to use one of them alone, name it as the \
         folder; if they are the classes, put their images directly into them",
    );
}

#[test]
fn what_systems_and_programs_make_is_left_out_and_counted() {
    let made = [
        "@eaDir/x/*1",
        "cat/@eaDir/0.jpg/*2",
        "#recycle/*3",
        "__MACOSX/cat/._0.jpg",
        "lost+found/",
        "$RECYCLE.BIN/S-1-5/*1",
        "System Volume Information/x",
        ".ipynb_checkpoints/*1",
        "cat/.ipynb_checkpoints/*1",
        ".git/config",
        "__pycache__/x.pyc",
        "cat/Thumbs.db",
        "dog/desktop.ini",
        "dog/Icon\r",
        "dog/._0.jpg",
        "dog/.DS_Store",
        ".@__thumb/*1",
    ];
    let whole = [&["cat/*5", "dog/*5"][..], &made].concat();
    let note = "17 entries such as ROOT/#recycle were left out: they are hidden or made by a system or a program";
    is(&whole, &["cat", "dog"], &[4, 4], &[1, 1], &[note]);
    let root = folder(&whole);
    assert_eq!(check("folder", Some(root.path()), &Silent).n_ignored, 17);
    // In parts too, and they change no image.
    let parts = ["train/cat/*2", "train/dog/*2", "train/@eaDir/*2", "test/cat/*1", "test/dog/*1", "test/@eaDir/*1"];
    let note = "2 entries such as ROOT/test/@eaDir were left out: they are hidden or made by a system or a program";
    is(&parts, &["cat", "dog"], &[2, 2], &[1, 1], &[note]);
    let plain = folder(&["cat/*5", "dog/*5"]);
    let print = |root: &Path| open("folder", Some(root)).unwrap().train.fingerprint();
    assert_eq!(print(root.path()), print(plain.path()));
}

#[test]
fn runs_of_this_program_are_never_images() {
    let root = folder(&["cat/*5", "dog/*5"]);
    let before = looked_into(root.path()).unwrap();
    let run = |place: &str| {
        write(root.path(), &format!("{place}/format"), "rdarts-run 1\n");
        write(root.path(), &format!("{place}/spec.toml"), "seed = 1\n");
        write(root.path(), &format!("{place}/checkpoints/x.safetensors"), "x");
        write(root.path(), &format!("{place}/sheet.png"), encoded(1, ImageFormat::Png));
    };
    for place in ["runs/s2-folder-darts-1", "runs/s2-folder-darts-1-2", "out", "cat/run", "deep/er/run"] {
        run(place);
        assert_eq!(looked_into(root.path()).unwrap(), before, "{place}");
    }
    // Known by what it is and not by its name: this one is a class.
    write(root.path(), "runs/a.png", encoded(9, ImageFormat::Png));
    write(root.path(), "runs/b.png", encoded(8, ImageFormat::Png));
    assert_eq!(looked_into(root.path()).unwrap().0.classes, ["cat", "dog", "runs"]);
    let message = looked_into(&root.path().join("out")).unwrap_err();
    assert_eq!(message, "ROOT is the directory of a run, not of images: name the folder of the images");
    // With parts.
    let root = folder(&["train/a/*3", "train/b/*3", "test/a/*1", "test/b/*1"]);
    let before = looked_into(root.path()).unwrap();
    write(root.path(), "runs/x/format", "rdarts-run 1\n");
    write(root.path(), "runs/x/spec.toml", "");
    assert_eq!(looked_into(root.path()).unwrap(), before);
}

#[test]
fn links_that_lead_back_are_told() {
    let root = folder(&["cat/*3", "dog/*3"]);
    symlink(root.path(), root.path().join("dog/self")).unwrap();
    assert_eq!(
        looked_into(root.path()).unwrap_err(),
        "ROOT/dog/self is a link to a directory that it lies in, so that it would hold itself: remove the link"
    );
    // Parts that are links.
    let (parts, root) = (folder(&["train/a/*3", "train/b/*3", "held/a/*1", "held/b/*1"]), tempdir().unwrap());
    symlink(parts.path().join("train"), root.path().join("train")).unwrap();
    symlink(parts.path().join("held"), root.path().join("test")).unwrap();
    assert_eq!(looked_into(root.path()).unwrap().0.test.counts(2), [1, 1]);
}

#[test]
fn files_are_pictures_by_their_content_and_other_formats_are_named() {
    let root = folder(&["a/*2", "b/*2"]);
    let jpeg = encoded(5, ImageFormat::Jpeg);
    let names = ["x.jfif", "x.jpe", "x.JPG_large", "x", "IMG 1.jpg:large", "photo.jpg?w=300", "x.webp_file", "x.apng"];
    names.iter().for_each(|name| write(root.path(), &format!("a/{name}"), &jpeg));
    // Copies and what is still being fetched are nobody's pictures.
    ["b/1.jpg.bak", "b/1.jpg~", "b/2.jpg.part", "b/3.crdownload"]
        .iter()
        .for_each(|name| write(root.path(), name, &jpeg));
    let (data, notes) = looked_into(root.path()).unwrap();
    assert_eq!(data.train.n + data.test.n, 4 + names.len());
    assert_eq!(
        notes,
        ["4 entries such as ROOT/b/1.jpg.bak were left out: they are no PNG, JPEG or WebP images of a class"]
    );

    let brand = |brand: &[u8]| [b"\0\0\0\x18ftyp", brand, &[0; 16]].concat();
    let bmp = [b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", &[1; 40][..]].concat();
    let kinds: [(&str, Vec<u8>, &str); 12] = [
        ("gif", b"GIF89a\x01\0\x01\0".to_vec(), "a GIF"),
        ("bmp", bmp, "a BMP image"),
        ("tif", b"II*\0\x08\0\0\0".to_vec(), "a TIFF image or a camera's raw file"),
        ("heic", brand(b"heic"), "a HEIC image"),
        ("avif", brand(b"avif"), "an AVIF image"),
        ("jp2", b"\0\0\0\x0cjP  \r\n\x87\n".to_vec(), "a JPEG 2000 image"),
        ("jxl", b"\xff\x0a\x01\x02".to_vec(), "a JPEG XL image"),
        ("svg", b"<?xml version='1.0'?><svg width='3'/>".to_vec(), "an SVG drawing"),
        ("psd", b"8BPS\0\x01".to_vec(), "a Photoshop file"),
        ("ppm", b"P6\n2 2\n255\n".to_vec(), "a PNM image"),
        ("raf", b"FUJIFILMCCD-RAW 0201".to_vec(), "a camera's raw file"),
        ("ico", b"\0\0\x01\0\x01\0".to_vec(), "an icon file"),
    ];
    for (ending, bytes, kind) in &kinds {
        // One that says it is a JPEG is refused.
        let root = folder(&["a/*2", "b/*2"]);
        write(root.path(), &format!("a/{ending}.jpg"), bytes);
        let sentence = format!("ROOT/a/{ending}.jpg is {kind}; convert it to PNG, JPEG or WebP");
        assert_eq!(looked_into(root.path()).unwrap_err(), sentence);
        // One that says what it is is left out, and named.
        fs::rename(root.path().join(format!("a/{ending}.jpg")), root.path().join(format!("a/x.{ending}"))).unwrap();
        let note =
            format!("ROOT/a/x.{ending} was left out: it is {kind}; convert to PNG, JPEG or WebP what should be used");
        assert_eq!(looked_into(root.path()).unwrap().1, [note]);
        // A class of nothing else is refused.
        fs::create_dir(root.path().join("c")).unwrap();
        fs::rename(root.path().join(format!("a/x.{ending}")), root.path().join(format!("c/x.{ending}"))).unwrap();
        let sentence = format!(
            "ROOT/c holds no PNG, JPEG or WebP image for its class, x.{ending} in it is {kind}: convert its images to one \
             of these"
        );
        assert_eq!(looked_into(root.path()).unwrap_err(), sentence);
    }
    let root = folder(&["a/*2", "b/*2"]);
    ["a/1.gif", "a/2.gif", "b/3.gif"].iter().for_each(|name| write(root.path(), name, b"GIF89a"));
    assert_eq!(
        looked_into(root.path()).unwrap().1,
        [
            "3 images of formats that are not read were left out, such as ROOT/a/1.gif, which is a GIF; convert to PNG, JPEG \
          or WebP what should be used"
        ]
    );
}

#[test]
fn data_that_has_lost_its_content_is_noticed() {
    let save = |root: &Path, name: &str, picture: image::DynamicImage| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        write(root, name, bytes.into_inner());
    };
    let all = |make: &dyn Fn(u32) -> image::DynamicImage| {
        let root = tempdir().unwrap();
        (0..8).for_each(|i| save(root.path(), &format!("{}/{i}.png", ["a", "b"][i as usize % 2]), make(i)));
        root
    };
    let flat = |value: u8| image::GrayImage::from_pixel(12, 12, Luma([value])).into();
    let veiled = |i: u32| image::RgbaImage::from_fn(12, 12, |x, y| image::Rgba([40, 40, 40, (x * y + i) as u8])).into();
    let deep = |top: u32| {
        move |i: u32| -> image::DynamicImage {
            image::ImageBuffer::from_fn(12, 12, |x, y| Luma([((x * 12 + y) * top / 143).saturating_sub(i) as u16]))
                .into()
        }
    };

    // A few are a note.
    let root = folder(&["a/*5", "b/*5"]);
    save(root.path(), "a/flat.png", flat(9));
    save(root.path(), "b/flat.png", flat(0));
    save(root.path(), "b/veiled.png", veiled(1));
    assert_eq!(
        looked_into(root.path()).unwrap().1,
        [
            "1 image, such as ROOT/b/veiled.png, is of a single colour, since its shape lies in the transparency, which is \
             not read: put such images on a background and save them without transparency",
            "2 images, such as ROOT/a/flat.png, are of a single colour: look whether this is what they should show",
        ]
    );

    // All are an error.
    let sentence = |root: &TempDir| looked_into(root.path()).unwrap_err();
    assert_eq!(
        sentence(&all(&|i| flat(i as u8 * 9))),
        "each of the 8 images in ROOT is of a single colour, such as ROOT/a/0.png: fill the folder with images that show \
         something"
    );
    assert_eq!(
        sentence(&all(&veiled)),
        "each of the 8 images in ROOT is of a single colour, such as ROOT/a/0.png: their shapes lie in their transparency, \
         which is not read: put them on a background of one colour and save them without transparency"
    );

    // 12 bits in 16.
    let (_, notes) = looked_into(all(&deep(4095)).path()).unwrap();
    assert_eq!(
        notes,
        ["the 8 images stored with 16 bits a value use no more than 12 of them (the largest value is 4095, in \
          ROOT/a/0.png), so that no more than 17 of 256 gray levels are left and the images are dark: multiply their \
          values by 16 and save them again"]
    );
    let lost = sentence(&all(&deep(100)));
    assert!(
        lost.starts_with("each of the 8 images in ROOT is of a single colour")
            && lost.contains("no more than 7 of them")
    );
    assert_eq!(looked_into(all(&deep(65535)).path()).unwrap().1, [""; 0]);

    // Labels as values.
    let (_, notes) =
        looked_into(all(&|i| image::GrayImage::from_fn(12, 12, |x, _| Luma([((x + i) % 2) as u8])).into()).path())
            .unwrap();
    assert_eq!(
        notes,
        [
            "all values of all images lie from 0 to 1, where 0 to 255 can be stored: look whether the images should have more \
          contrast"
        ]
    );
    // A colour that is the same everywhere.
    let no_blue = all(&|i| RgbImage::from_fn(12, 12, |x, y| Rgb([(x * 20) as u8, (y * 9 + i) as u8, 128])).into());
    let notes = Notes::default();
    let data = open_with("folder", Some(no_blue.path()), &Options { watch: &notes, ..Options::USUAL }).unwrap();
    assert_eq!(data.std[2], 1.0);
    assert_eq!(
        notes.0.into_inner().unwrap(),
        ["channel 2 (of 3, counted from 0) has the same value in all training images, so nothing is learned from it"]
    );
}
