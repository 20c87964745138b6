//! Folders of images as people have them, given to the program: exit codes, what it says, and what it leaves behind.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

mod common;

use common::{rdarts, run, text};

/// A search of a second or two.
const TINY: [&str; 14] = [
    "search",
    "--threads",
    "1",
    "--space",
    "tiny",
    "--set",
    "network.channels=2",
    "--set",
    "network.cells=3",
    "--set",
    "search.batch=4",
    "--set",
    "monitor.window=1",
    "--data",
];

/// Pictures of two classes below `dir`.
fn pictures(dir: &Path) {
    for (class, period) in [("cat", 5), ("dog", 9)] {
        std::fs::create_dir_all(dir.join(class)).unwrap();
        for i in 0..12u32 {
            let value = |x: u32, y: u32| image::Luma([((x + y + i) % period * 25) as u8]);
            image::GrayImage::from_fn(16, 16, value).save(dir.join(class).join(format!("{i}.png"))).unwrap();
        }
    }
}

/// All files below a directory but those of runs, with what is in them.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.join("format").exists() => {}
            true => found.extend(contents(&path)),
            false => _ = found.insert(path.clone(), std::fs::read(&path).unwrap()),
        }
    }
    found
}

/// Exit code 2, this one sentence, nothing on standard output, and the folder as it was.
#[track_caller]
fn refuses(dir: &Path, args: &[&str], sentence: &str) {
    let before = contents(dir);
    let out = run(dir, args);
    assert_eq!(out.status.code(), Some(2), "{args:?}: {}", text(&out.stderr));
    assert_eq!(text(&out.stderr), format!("error: {sentence}\n"), "{args:?}");
    assert!(out.stdout.is_empty(), "{args:?}");
    assert!(contents(dir) == before, "{args:?} changed the folder");
    assert!(!dir.join("out").exists(), "{args:?} left a run directory");
}

#[test]
fn a_run_within_the_folder_of_its_images_is_no_input_to_anything() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    pictures(dir);
    let info = || {
        let out = run(dir, &["data", "info", ".", "--json"]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        let mut whole: Value = serde_json::from_slice(&out.stdout).unwrap();
        whole.as_object_mut().unwrap().remove("seconds");
        (whole, text(&out.stderr))
    };
    let (before, files) = (info(), contents(dir));
    // Stopped in the middle, in the directory that a search chooses by itself.
    let mut child = rdarts(dir)
        .args(TINY)
        .args([".", "--epochs", "4000"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let runs = dir.join("runs");
    let run_dir = loop {
        let first = std::fs::read_dir(&runs).ok().and_then(|mut entries| entries.next()?.ok());
        if let Some(entry) = first.filter(|entry| {
            std::fs::metadata(entry.path().join("events.jsonl")).is_ok_and(|events| events.len() > 2000)
        }) {
            break entry.path();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no epoch after a minute");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(info(), before);
    // It goes on: the images are the same.
    let mut child =
        rdarts(dir).arg("resume").arg(&run_dir).args(["--threads", "1"]).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", text(&out.stderr));
    let hessian = run(dir, &["hessian", run_dir.to_str().unwrap()]);
    assert!(hessian.status.success(), "{}", text(&hessian.stderr));
    // Runs anywhere else in it.
    for place in ["out", "cat/run", "deep/er/run"] {
        let out = run(dir, &[&TINY[..], &[".", "--epochs", "1", "--out", place]].concat());
        assert!(out.status.success(), "{place}: {}", text(&out.stderr));
        assert_eq!(info(), before, "{place}");
    }
    let check = run(dir, &["data", "check", "."]);
    assert!(text(&check.stdout).ends_with(": 24 files read, 0 bad\n"), "{}", text(&check.stdout));
    assert_eq!(contents(dir), files);
}

#[test]
fn folders_that_do_not_say_what_their_classes_are_end_in_a_sentence() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    pictures(dir);
    std::fs::rename(dir.join("cat"), dir.join("train")).unwrap();
    std::fs::rename(dir.join("dog"), dir.join("test1")).unwrap();
    let sentence = |root: &str| {
        format!(
            "{root} does not say which class an image is of: 24 images in {root}/train and {root}/test1 are in no \
             directory of a class. Sort them into directories, one for each class, such as {root}/train/CLASS/IMAGE.png"
        )
    };
    refuses(dir, &[&TINY[..], &[".", "--out", "out"]].concat(), &sentence(&whole(dir)));
    refuses(dir, &["data", "info", "."], &sentence("."));
    let check = run(dir, &["data", "check", "."]);
    assert_eq!(check.status.code(), Some(2));
    assert_eq!(text(&check.stdout).lines().next(), Some(&*format!("BAD  {}", sentence("."))));
}

/// A directory as the program names it where it records it.
fn whole(dir: &Path) -> String {
    dir.canonicalize().unwrap().display().to_string()
}

#[test]
fn a_folder_without_content_is_refused_and_a_little_of_it_is_a_note() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    pictures(dir);
    let flat = image::GrayImage::from_pixel(16, 16, image::Luma([7]));
    flat.save(dir.join("cat/3.png")).unwrap();
    let note = "1 image, such as ./cat/3.png, is of a single colour: look whether this is what it should show";
    let info = run(dir, &["data", "info", "."]);
    assert!(info.status.success() && text(&info.stderr).contains(note), "{}", text(&info.stderr));
    let check = run(dir, &["data", "check", "."]);
    assert!(
        check.status.success() && text(&check.stdout).contains(&format!("note {note}\n")),
        "{}",
        text(&check.stdout)
    );
    for path in contents(dir).keys() {
        flat.save(path).unwrap();
    }
    let sentence = |root: &str| {
        format!(
            "each of the 24 images in {root} is of a single colour, such as {root}/cat/0.png: fill the folder with images \
             that show something"
        )
    };
    refuses(dir, &["data", "info", "."], &sentence("."));
    refuses(dir, &[&TINY[..], &[".", "--out", "out"]].concat(), &sentence(&whole(dir)));
    assert_eq!(run(dir, &["data", "check", "."]).status.code(), Some(2));
}

#[test]
fn names_of_any_bytes_are_one_line_and_do_nothing_to_a_terminal() {
    let tmp = tempfile::tempdir().unwrap();
    let name = |bytes: &'static [u8]| Path::new(OsStr::from_bytes(bytes)).to_owned();
    for root in [&b"new\nline \x1b[31m\"\\\x7f"[..], "\u{202e}txt".as_bytes()] {
        let dir = tmp.path().join(OsStr::from_bytes(root));
        pictures(&dir);
        std::fs::rename(dir.join("dog"), dir.join(name(b"d\x1b[1m\no\xffg"))).unwrap();
        std::fs::write(dir.join("cat").join(name(b"a\nb\x1b[31m.txt")), "x").unwrap();
        let with = |args: &[&str]| {
            let mut command = rdarts(tmp.path());
            command.args(&args[..args.len().min(2)]).arg(&dir).args(&args[args.len().min(2)..]);
            command.output().unwrap()
        };
        for args in
            [&["data", "info"][..], &["data", "check"], &["data", "info", "--json"], &["data", "check", "--json"]]
        {
            let out = with(args);
            assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
            for stream in [&out.stdout, &out.stderr] {
                let said = String::from_utf8(stream.clone()).expect("text");
                let is_unseen = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
                assert!(args.contains(&"--json") || !said.contains(is_unseen), "{args:?}: {said:?}");
                assert!(!said.contains('\x1b'), "{args:?}: {said:?}");
            }
        }
        let info = text(&with(&["data", "info"]).stdout);
        assert!(info.lines().any(|line| line.starts_with("d\\u{1b}[1m\\no\\xffg ")), "{info}");
        let check = text(&with(&["data", "check"]).stdout);
        assert_eq!(check.lines().count(), 2, "{check}");
        assert!(check.contains("/cat/a\\nb\\u{1b}[31m.txt was left out"), "{check}");
        std::fs::write(dir.join("cat").join(name(b"\r\x1b]0;x\x07.png")), "x").unwrap();
        let bad = with(&["data", "info"]);
        let sentence = text(&bad.stderr);
        // One note of what was left out, and one sentence.
        assert_eq!((bad.status.code(), sentence.lines().count()), (Some(2), 2), "{sentence}");
        assert!(sentence.lines().last().is_some_and(|line| line.starts_with("error: ")), "{sentence}");
        assert!(sentence.contains("\\r\\u{1b}]0;x\\u{7}.png is not a PNG, JPEG or WebP image"), "{sentence:?}");
    }
    // A path that is text is recorded as it is, and found again.
    let dir = tmp.path().join(OsStr::from_bytes(b"new\nline \x1b[31m\"\\\x7f"));
    std::fs::remove_file(dir.join("cat").join(name(b"\r\x1b]0;x\x07.png"))).unwrap();
    let out = rdarts(tmp.path()).args(TINY).arg(&dir).args(["--epochs", "1", "--out", "out"]).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let hessian = run(tmp.path(), &["hessian", "out"]);
    assert!(hessian.status.success(), "{}", text(&hessian.stderr));
}

#[test]
fn damaged_pictures_are_told_without_a_word_of_their_decoders() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    pictures(dir);
    let png = std::fs::read(dir.join("cat/1.png")).unwrap();
    let jpeg = {
        let path = dir.join("dog/a.jpg");
        image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * y) as u8, x as u8, y as u8])).save(&path).unwrap();
        std::fs::read(path).unwrap()
    };
    let files: [(&str, Vec<u8>); 7] = [
        ("cut.png", png[..png.len() / 2].to_vec()),
        ("head.png", png[..20].to_vec()),
        ("sums.png", png.iter().enumerate().map(|(i, &b)| if i == 60 { !b } else { b }).collect()),
        ("cut.jpg", jpeg[..jpeg.len() / 2].to_vec()),
        ("end.jpg", [&jpeg[..jpeg.len() / 2], b"\xff\xd9"].concat()),
        ("table.jpg", [&jpeg[..180], &[0xff; 40], &jpeg[220..]].concat()),
        ("cut.webp", b"RIFF\x40\0\0\0WEBPVP8L\x30\0\0\0\x2f\0".to_vec()),
    ];
    for (name, bytes) in &files {
        std::fs::write(dir.join("cat").join(name), bytes).unwrap();
    }
    let out = run(dir, &["data", "check", "."]);
    let shown = text(&out.stdout);
    assert_eq!(out.status.code(), Some(2), "{shown}");
    let bad: Vec<&str> = shown.lines().filter(|line| line.starts_with("BAD")).collect();
    assert_eq!(bad.len(), files.len(), "{shown}");
    for line in bad {
        assert!(line.contains(" cannot be read as a picture: it "), "{line}");
        for word in ["Format error", "Png", "Jpeg:", "decoding", "chunk", "Huffman", "marker", "IO error", "zune"] {
            assert!(!line.contains(word), "`{word}` is in: {line}");
        }
    }
    // Whole but for the end, it is read.
    for (name, _) in &files {
        std::fs::remove_file(dir.join("cat").join(name)).unwrap();
    }
    std::fs::write(dir.join("dog/a.jpg"), &jpeg[..jpeg.len() - 2]).unwrap();
    std::fs::write(dir.join("dog/b.jpg"), [&jpeg[..], b"trailing"].concat()).unwrap();
    let out = run(dir, &["data", "check", "."]);
    assert!(out.status.success(), "{}", text(&out.stdout));
}

#[test]
fn a_contact_sheet_takes_the_place_of_no_file_of_another_kind() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("images");
    pictures(&dir);
    let picture = std::fs::read_dir(dir.join("cat")).unwrap().next().unwrap().unwrap().path();
    let before = std::fs::read(&picture).unwrap();
    std::fs::write(tmp.path().join("notes.toml"), "mine").unwrap();
    let sheet = |path: &Path| {
        let out = rdarts(tmp.path()).args(["data", "info", "images", "--sheet"]).arg(path).output().unwrap();
        (out.status.code(), text(&out.stderr))
    };
    for path in [picture.clone(), dir.join("sheet.png"), dir.join("dog/sheet.png")] {
        let (code, said) = sheet(&path);
        assert!(code == Some(2) && said.contains("lies among the images of"), "{said}");
    }
    let (code, said) = sheet(&tmp.path().join("notes.toml"));
    assert!(code == Some(2) && said.contains("a contact sheet is a .png file"), "{said}");
    assert_eq!(std::fs::read(&picture).unwrap(), before);
    assert_eq!(std::fs::read(tmp.path().join("notes.toml")).unwrap(), b"mine");
    assert!(!dir.join("sheet.png").exists() && !dir.join("dog/sheet.png").exists());
    assert_eq!(sheet(&tmp.path().join("sheet.png")).0, Some(0));
}
