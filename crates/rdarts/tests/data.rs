//! `rdarts data` as its user meets it. What is fetched comes from servers that these tests start on this machine.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

mod common;

use common::{rdarts, text};

#[path = "../../../tests/skip.rs"]
mod skip;

const FILES: [&str; 4] = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
];

fn run(dir: &Path, args: &[&str]) -> Output {
    rdarts(dir).arg("data").args(args).output().unwrap()
}

/// Standard output of a run that succeeds.
fn shown(dir: &Path, args: &[&str]) -> String {
    let out = run(dir, args);
    assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

fn json(dir: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&shown(dir, args)).unwrap()
}

/// The code, one sentence with all the given words, nothing on standard output.
fn refuses(dir: &Path, code: i32, args: &[&str], words: &[&str]) {
    let out = run(dir, args);
    let message = text(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {message}");
    assert!(out.stdout.is_empty(), "{args:?}");
    let sentences: Vec<&str> = message.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(sentences.len(), 1, "{args:?}: {message}");
    for word in words {
        assert!(sentences[0].contains(word), "{args:?}: `{word}` is not in: {message}");
    }
}

/// Files that Python wrote; `make.py` beside them says what is in them.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rdarts-data/tests/fixtures")
}

#[test]
fn the_list_says_of_every_data_set_where_it_is_and_where_it_is_looked_for() {
    let tmp = tempfile::tempdir().unwrap();
    let list = shown(tmp.path(), &["list"]);
    for words in [
        "fashion-mini         6,000    1,000  28x28x1        10  part of the program",
        "svhn-extra         604,388   26,032  32x32x3        10  not found; `rdarts data fetch svhn-extra` gets it",
        "folder ",
        "$RDARTS_DATA: not set",
    ] {
        assert!(list.contains(words), "`{words}` is not in:\n{list}");
    }
    let place = tmp.path().join("share/rdarts/cifar-10-batches-bin");
    assert!(list.contains(&format!("cifar10: {}\n", place.display())), "{list}");

    // There, by each of the ways that it is looked for.
    let fixtures = fixtures();
    let dir = fixtures.to_str().unwrap();
    let of = |json: &Value, name: &str| {
        json["data_sets"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap().clone()
    };
    let given = json(tmp.path(), &["list", "--data-dir", dir, "--json"]);
    assert_eq!(of(&given, "cifar100")["dir"], format!("{dir}/cifar-100-binary"));
    assert_eq!(of(&given, "svhn")["dir"], Value::Null);
    assert_eq!(of(&given, "cifar100")["looked_in"], serde_json::json!([dir, format!("{dir}/cifar-100-binary")]));
    let out = rdarts(tmp.path()).args(["data", "list"]).env("RDARTS_DATA", dir).output().unwrap();
    assert!(text(&out.stdout).contains(&format!("  {dir}/cifar-10-batches-bin\n")), "{}", text(&out.stdout));

    // The python version is named where it is found.
    let python = tmp.path().join("share/rdarts/cifar-10-batches-bin");
    std::fs::create_dir_all(&python).unwrap();
    std::fs::write(python.join("data_batch_1"), b"\x80\x02").unwrap();
    let list = shown(tmp.path(), &["list"]);
    assert!(list.contains("in another form, see below") && list.contains("is the python version of cifar10"), "{list}");
}

#[test]
fn info_tells_classes_statistics_and_augmentation_and_draws_a_sheet() {
    let tmp = tempfile::tempdir().unwrap();
    let info = shown(tmp.path(), &["info", "fashion-mini", "--sheet", "sheet.png", "--columns", "3"]);
    for words in [
        "fashion-mini: 6,000 training and 1,000 test images of 28x28x1 in 10 classes",
        "Part of the program",
        "Ankle boot        600       100",
        "Augmentation of a search with the preset paper: crop padding 4, flip, Cutout off (where it is on, usually 14 pixels)",
        "Contact sheet: sheet.png",
    ] {
        assert!(info.contains(words), "`{words}` is not in:\n{info}");
    }
    assert!(!info.contains("Unequal"), "{info}");
    let png = std::fs::read(tmp.path().join("sheet.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG") && png.len() > 5000, "{}", png.len());

    let fixtures = fixtures();
    let cifar = json(tmp.path(), &["info", fixtures.join("cifar-100-binary").to_str().unwrap(), "--json"]);
    assert_eq!((&cifar["name"], &cifar["shape"]), (&"cifar100".into(), &serde_json::json!([32, 32, 3])));
    assert_eq!((&cifar["train"], &cifar["test"]), (&4.into(), &3.into()));
    assert_eq!(cifar["classes"][77], serde_json::json!({ "name": "fine_77", "train": 1, "test": 0 }));
    assert_eq!(cifar["largest_to_smallest"]["train"], Value::Null);
    assert_eq!((cifar["published"]["mean"][0].as_f64().unwrap() * 1e4).round(), 5071.0);
    let svhn = shown(tmp.path(), &["info", "svhn-extra", "--data-dir", fixtures.join("svhn-b").to_str().unwrap()]);
    assert!(svhn.contains("svhn-extra: 5 training and 4 test images"), "{svhn}");
    assert!(svhn.contains("crop padding 4, no flip"), "{svhn}");
    assert!(svhn.contains("Unequal: there is a class without training images"), "{svhn}");
}

#[test]
fn a_folder_is_looked_into_and_checked_by_its_path() {
    let tmp = tempfile::tempdir().unwrap();
    let png = |name: &str, value: u8| {
        let path = tmp.path().join("pets").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_fn(16, 16, |x, _| image::Luma([value + 9 * x as u8])).save(path).unwrap();
    };
    for i in 0..9 {
        png(&format!("cat/{i}.png"), 10 * i);
        if i < 4 {
            png(&format!("dog/{i}.png"), 10 * i + 5);
        }
    }
    let info = shown(tmp.path(), &["info", "pets"]);
    for words in
        ["pets: ", "of 16x16x1 in 2 classes", "cat ", "Unequal: the largest class has 2.", "crop padding 2, flip"]
    {
        assert!(info.contains(words), "`{words}` is not in:\n{info}");
    }
    assert!(info.contains("Used is what was computed"), "{info}");
    assert!(shown(tmp.path(), &["check", "pets"]).contains("pets: 13 files read, 0 bad"));
    let whole = std::fs::read(tmp.path().join("pets/cat/1.png")).unwrap();
    std::fs::write(tmp.path().join("pets/cat/2.png"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(tmp.path().join("pets/dog/3.png"), b"<html>").unwrap();
    let out = run(tmp.path(), &["check", "pets"]);
    let shown = text(&out.stdout);
    assert_eq!(out.status.code(), Some(2), "{shown}");
    let bad: Vec<&str> = shown.lines().filter(|l| l.starts_with("BAD  ")).collect();
    assert_eq!(bad.len(), 2, "{shown}");
    assert!(shown.contains("2.png") && shown.contains("3.png"), "{shown}");
}

#[test]
fn check_names_every_bad_file_and_goes_on() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("cifar-10-batches-bin");
    std::fs::create_dir(&dir).unwrap();
    for entry in std::fs::read_dir(fixtures().join("cifar-10-batches-bin")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    let good = shown(tmp.path(), &["check", "cifar10", "--data-dir", "."]);
    assert_eq!(good.lines().filter(|l| l.starts_with("ok   ")).count(), 7, "{good}");
    assert!(good.contains("note there are 12 images; the published set has 60,000"), "{good}");
    let bytes = std::fs::read(dir.join("data_batch_2.bin")).unwrap();
    std::fs::write(dir.join("data_batch_2.bin"), &bytes[..4000]).unwrap();
    std::fs::write(dir.join("data_batch_4.bin"), b"<!DOCTYPE html><html></html>").unwrap();
    std::fs::write(dir.join("test_batch.bin"), [&[200], &bytes[1..]].concat()).unwrap();
    let out = run(tmp.path(), &["check", "cifar-10-batches-bin"]);
    let shown = text(&out.stdout);
    assert_eq!(out.status.code(), Some(2), "{shown}");
    let bad: Vec<&str> = shown.lines().filter(|l| l.starts_with("BAD  ")).collect();
    assert_eq!(bad.len(), 3, "{shown}");
    for (line, words) in
        bad.iter().zip(["data_batch_2.bin is cut short", "data_batch_4.bin is not a file of CIFAR", "the label 200"])
    {
        assert!(line.contains(words), "`{words}` is not in {line}");
    }
    assert!(shown.ends_with("cifar10: 7 files read, 3 bad\n"), "{shown}");
    let out = run(tmp.path(), &["check", "cifar10", "--data-dir", ".", "--json"]);
    let json: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), &json["bad"], json["problems"].as_array().unwrap().len()), (Some(2), &3.into(), 3));
    assert!(json["details"]["files"][0]["problem"].is_null());
    assert_eq!(json["details"]["files"][0]["images"], 2);
}

#[test]
fn what_is_asked_wrongly_is_refused_with_what_would_be_right() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    refuses(dir, 2, &["info", "cifar-10"], &["the nearest name is 'cifar10'"]);
    refuses(dir, 2, &["info", "cifar10"], &["cifar10 is not in ", "`rdarts data fetch cifar10`", "--data-dir"]);
    refuses(dir, 2, &["check", "svhn", "--data-dir", "nowhere"], &["svhn is not in nowhere or nowhere/svhn"]);
    refuses(dir, 2, &["info", "./nowhere"], &["nowhere"]);
    refuses(dir, 2, &["info", ".", "--data-dir", "."], &["the data should have one place"]);
    refuses(dir, 2, &["info", "fashion-mini", "--sheet", "no/such/dir/a.png"], &["cannot write no/such/dir/a.png"]);
    refuses(dir, 2, &["fetch", "imagenet"], &["no data set is called 'imagenet', all names are: fashion-mini, "]);
    refuses(
        dir,
        2,
        &["fetch", "emnist-letters"],
        &["emnist-letters is not fetched by this program: unpack gzip.zip of"],
    );
    refuses(dir, 2, &["fetch", "fashion-mini"], &["is part of the program"]);
    refuses(dir, 2, &["fetch", "folder"], &["a folder of images is your own"]);
    refuses(dir, 2, &["fetch", "svhn", "--from", "ftp://there"], &["`ftp://there` is no address"]);
    std::fs::create_dir(dir.join("cifar-100-python")).unwrap();
    std::fs::write(dir.join("cifar-100-python/train"), b"\x80\x02").unwrap();
    refuses(
        dir,
        2,
        &["info", "."],
        &["the python version of cifar100", "reads the binary version, cifar-100-binary.tar.gz"],
    );
}

/// A server that gives `answer` the number of the request, its path and the first byte asked for, and sends the result.
fn serve(mut answer: impl FnMut(usize, &str, usize, &mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let lines: Vec<String> =
                BufReader::new(&stream).lines().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
            let Some(path) = lines.first().and_then(|l| l.split(' ').nth(1)) else { continue };
            let range =
                lines.iter().find_map(|l| l.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
            let start = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
            answer(n, path, start, &mut stream);
        }
    });
    url
}

/// Sends the bytes from `start` on, and closes the connection after the first `most` of them.
fn send(stream: &mut TcpStream, bytes: &[u8], start: usize, most: usize) {
    let (n, rest) = (bytes.len(), &bytes[start..]);
    let head = match start {
        0 => "HTTP/1.1 200 OK\r\n".to_owned(),
        _ => format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{n}\r\n", n - 1),
    };
    let head = format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n", rest.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&rest[..most.min(rest.len())]));
}

/// The files that Fashion-MNIST's authors publish, made of Debian's, whose gzip headers lack the name and the time.
fn published() -> Option<Vec<(String, Vec<u8>)>> {
    let dir = Path::new("/usr/share/datasets/fashion-mnist");
    if !dir.is_dir() {
        skip::skip("no dataset-fashion-mnist", "`apt-get install dataset-fashion-mnist` for this test");
        return None;
    }
    let times = [1_504_176_606u32, 1_504_176_606, 1_504_176_627, 1_504_176_627];
    let file = |(name, time): (&str, u32)| {
        let bytes = std::fs::read(dir.join(name)).unwrap();
        let stem = name.trim_end_matches(".gz").as_bytes();
        let head = [&[0x1f, 0x8b, 8, 8][..], &time.to_le_bytes(), &[0, 3], stem, &[0]].concat();
        (name.to_owned(), [&head, &bytes[10..]].concat())
    };
    Some(FILES.into_iter().zip(times).map(file).collect())
}

#[test]
fn what_is_fetched_is_found_and_verified_and_a_broken_transfer_is_gone_on_with() {
    let Some(files) = published() else { return };
    let url = serve(move |n, path, start, stream| {
        let (_, bytes) = files.iter().find(|(name, _)| path == format!("/there/{name}")).unwrap();
        // The first connection breaks off.
        send(stream, bytes, start, if n == 0 { 9_000_000 } else { usize::MAX });
    }) + "/there/";
    let tmp = tempfile::tempdir().unwrap();
    let out = run(tmp.path(), &["fetch", "fashion-mnist", "--from", &url]);
    let (shown_, progress) = (text(&out.stdout), text(&out.stderr));
    assert!(out.status.success(), "{progress}");
    let place = tmp.path().join("share/rdarts/fashion-mnist");
    assert!(shown_.ends_with(&format!("fashion-mnist is in {}\n", place.display())), "{shown_}");
    assert_eq!(shown_.matches("fetched, its SHA-256 is the published one").count(), 4, "{shown_}");
    assert!(progress.contains("trying again") && progress.contains("26,421,880 bytes from byte "), "{progress}");
    let mut names: Vec<_> = std::fs::read_dir(&place).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    let mut expected = FILES;
    expected.sort_unstable();
    assert_eq!(names, expected);

    // Found without being told where, and whole; a second fetch asks nobody.
    let info = shown(tmp.path(), &["info", "fashion-mnist"]);
    assert!(info.contains(&format!("Files: {}", place.display())), "{info}");
    let again = json(tmp.path(), &["fetch", "fashion-mnist", "--from", "http://127.0.0.1:1", "--json"]);
    assert!(again["files"].as_array().unwrap().iter().all(|f| f["arrival"] == "verified"), "{again}");
    // A search finds it too, and records where.
    let settings = [
        "data.limit=64",
        "data.valid_limit=16",
        "network.channels=2",
        "network.cells=2",
        "search.batch=16",
        "search.epochs=1",
    ];
    let mut search = rdarts(tmp.path());
    search.args(["search", "--data", "fashion-mnist", "--out", "run", "--threads", "1"]);
    search.args(settings.iter().flat_map(|setting| ["--set", setting]));
    let out = search.env("RDARTS_DATA", tmp.path()).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let spec = std::fs::read_to_string(tmp.path().join("run/spec.toml")).unwrap();
    assert!(spec.contains(&format!("dir = \"{}\"", place.canonicalize().unwrap().display())), "{spec}");
    // One that was changed since is not taken for the published one.
    std::fs::write(place.join(FILES[1]), b"changed").unwrap();
    refuses(
        tmp.path(),
        2,
        &["fetch", "fashion-mnist", "--from", &url],
        &[FILES[1], "is there already and is not as published"],
    );
}

#[test]
fn failures_of_the_network_have_code_1_and_leave_nothing_in_place() {
    let tmp = tempfile::tempdir().unwrap();
    let page = serve(|_, _, _, stream| {
        let body = "<html>Sorry</html>";
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).unwrap();
    });
    let missing = serve(|_, _, _, stream| {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    });
    // As many bytes as the published file has, and others.
    let other = serve(|_, _, start, stream| send(stream, &vec![b'x'; 26_421_880], start, usize::MAX));
    let fetch = |url: &str, words: &[&str]| {
        refuses(tmp.path(), 1, &["fetch", "fashion-mnist", "--to", "to", "--from", url, "--timeout", "5"], words);
        assert_eq!(std::fs::read_dir(tmp.path().join("to/fashion-mnist")).unwrap().count(), 0);
    };
    fetch(&page, &[&page, FILES[0], "answered with an HTML page"]);
    fetch(&missing, &[&missing, "answered 404 Not Found"]);
    fetch(&other, &["is not the published file: it is a text file", "should be 3aede38d", "was removed"]);
    std::fs::write(tmp.path().join("file"), b"").unwrap();
    refuses(tmp.path(), 1, &["fetch", "svhn", "--to", "file"], &["cannot write file/svhn"]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_fetch_keeps_what_came() {
    // One MB and then silence, kept open.
    let mut held = Vec::new();
    let url = serve(move |_, _, start, stream| {
        send(stream, &vec![7; 26_421_880], start, 1 << 20);
        held.push(stream.try_clone().unwrap());
    });
    let tmp = tempfile::tempdir().unwrap();
    let mut child = rdarts(tmp.path())
        .args(["data", "fetch", "fashion-mnist", "--to", ".", "--from", &url, "--timeout", "2"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let part = tmp.path().join(format!("fashion-mnist/{}.part", FILES[0]));
    let begin = Instant::now();
    while std::fs::metadata(&part).map_or(0, |data| data.len()) < 1 << 20 {
        assert!(begin.elapsed() < Duration::from_secs(30), "nothing came");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let status = child.wait().unwrap();
    let mut message = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut message).unwrap();
    assert_eq!(status.code(), Some(130), "{message}");
    assert!(message.contains("stopped: what came is kept"), "{message}");
    assert_eq!(std::fs::metadata(&part).unwrap().len(), 1 << 20);
}

#[test]
fn stereo_pairs_are_listed_shown_and_checked_and_no_images_with_classes() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let list = shown(dir, &["list"]);
    for words in
        ["stereo-scenes             4,096      256  rendered by the program", "sintel-stereo ", "stereo-folder "]
    {
        assert!(list.contains(words), "`{words}` is not in:\n{list}");
    }
    let listed = json(dir, &["list", "--json"]);
    assert_eq!(listed["stereo_sets"].as_array().unwrap().len(), 9);

    let info = shown(dir, &["info", "stereo-scenes", "--pairs", "4", "--sheet", "sheet.png", "--columns", "3"]);
    for words in [
        "stereo-scenes: 4,096 training and 256 test pairs of left and right view",
        "Rendered by the program, no files",
        "Looked at 8 pairs in ",
        "training     4,096        4        128x256  100.0 %",
        "Sheet of pairs: sheet.png",
    ] {
        assert!(info.contains(words), "`{words}` is not in:\n{info}");
    }
    assert!(std::fs::read(dir.join("sheet.png")).unwrap().starts_with(b"\x89PNG"));
    let of = json(dir, &["info", "stereo-scenes", "--pairs", "5", "--json"]);
    let part = &of["train"];
    assert_eq!((&part["pairs"], &part["read"], &part["known"]), (&4096.into(), &5.into(), &1.0.into()));
    let number = |value: &Value| value.as_f64().unwrap();
    assert!(number(&part["difference"]["warped"]) * 5.0 < number(&part["difference"]["unwarped"]), "{part}");
    assert!(number(&part["disparity"]["most"]) <= 64.0 && number(&part["visible"]) < 1.0, "{part}");

    // A folder of two pairs, the second of which lacks a view.
    let pairs = dir.join("pairs");
    let scenes = rdarts::data::stereo::Scenes::new(32, 64, 16.0, 1).unwrap();
    for name in ["left", "right", "disp"] {
        std::fs::create_dir_all(pairs.join(name)).unwrap();
    }
    for i in 0..2u64 {
        let pair = scenes.pair(i);
        let of = rdarts::data::stereo::encode(64, &pair.disparity, rdarts::data::stereo::Coding::Pfm).unwrap();
        std::fs::write(pairs.join(format!("disp/{i}.pfm")), of).unwrap();
        for (side, bytes) in [("left", pair.left), ("right", pair.right)] {
            // PPM, which is read too.
            let file = [&b"P6 64 32 255\n"[..], &bytes].concat();
            std::fs::write(pairs.join(format!("{side}/{i}.ppm")), file).unwrap();
        }
    }
    let info = shown(dir, &["info", "pairs"]);
    assert!(info.starts_with("pairs: 2 training and 0 test pairs"), "{info}");
    assert_eq!(shown(dir, &["check", "pairs"]), "pairs: 6 files read, 0 bad\n");
    std::fs::remove_file(pairs.join("right/1.ppm")).unwrap();
    refuses(dir, 2, &["info", "pairs"], &["the pair 1 has no right view: pairs/right/1 is missing"]);
    let out = run(dir, &["check", "pairs"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stdout).starts_with("BAD  the pair 1 has no right view"), "{}", text(&out.stdout));
    refuses(dir, 2, &["info", "pairs", "--sheet", "pairs/left/s.png"], &["lies among the images of"]);

    // What needs classes says so, and what is not fetched.
    let no_classes = "is a set of stereo pairs, which have no classes";
    let other_task = "is of disparity";
    for (data, expected) in [("stereo-scenes", other_task), ("sintel-stereo", other_task), ("pairs", no_classes)] {
        let args = ["robust", "--task", "classification", "--data", data, "--out", "run"];
        let out = rdarts(dir).args(args).output().unwrap();
        let message = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{message}");
        assert!(message.contains(expected), "{message}");
        assert!(!dir.join("run").exists());
    }
    refuses(dir, 2, &["fetch", "sintel-stereo"], &["sintel-stereo is not fetched", "sintel.is.tue.mpg.de"]);
    refuses(dir, 2, &["fetch", "stereo-scenes"], &["there is nothing to fetch"]);
}
