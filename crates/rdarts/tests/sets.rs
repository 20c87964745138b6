//! Named data sets as a user meets them: whose files lie in a directory, and smaller images of a set.

use std::path::Path;
use std::process::Output;

use rdarts::data::catalog;

mod common;

use common::{run, text};

/// First labels of training and test images as they were published.
const OF_MNIST: [&[u8]; 2] = [&[5, 0, 4, 1, 9, 2, 1, 3, 1, 4], &[7, 2, 1, 0, 4, 1, 4, 9, 5, 9]];
const OF_FASHION: [&[u8]; 2] = [&[9, 0, 0, 3, 0, 2, 7, 2, 5, 5], &[9, 2, 1, 1, 6, 1, 4, 6, 5, 7]];
const OF_NOBODY: [&[u8]; 2] = [&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]; 2];

/// Four IDX files with these labels first, then 0 to 9 again and again.
fn write_set(dir: &Path, parts: [&str; 2], labels: [&[u8]; 2], first: u8) {
    std::fs::create_dir_all(dir).unwrap();
    for (part, labels) in parts.iter().zip(labels) {
        let labels: Vec<u8> =
            labels.iter().copied().chain((0..10).cycle()).take(40).map(|label| label + first).collect();
        let n = (labels.len() as u32).to_be_bytes();
        let dims = [28u32; 2].map(u32::to_be_bytes).concat();
        let pixels: Vec<u8> = (0..labels.len() * 784).map(|i| (i * 31 % 251) as u8).collect();
        let images = [&[0, 0, 8, 3], &n[..], &dims[..], &pixels].concat();
        std::fs::write(dir.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), [&[0, 0, 8, 1], &n[..], &labels].concat())
            .unwrap();
    }
}

const PLAIN: [&str; 2] = ["train", "t10k"];

/// The smallest search there is, with what is asked for.
fn search(dir: &Path, args: &[&str]) -> Output {
    let small = [
        "search",
        "--threads",
        "1",
        "--space",
        "tiny",
        "--set",
        "network.channels=2",
        "--set",
        "network.cells=2",
        "--set",
        "search.batch=8",
        "--epochs",
        "1",
        "--set",
        "eval.child=false",
    ];
    run(dir, &[&small[..], args].concat())
}

/// Code 2, this sentence alone, and nothing left behind.
fn refused(dir: &Path, out: &Output, sentence: &str) {
    let message = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{message}");
    assert_eq!(message, format!("error: {sentence}\n"));
    assert!(out.stdout.is_empty());
    assert!(!dir.join("runs").exists(), "a refused search leaves nothing behind");
}

fn spec(dir: &Path, run: &str) -> String {
    std::fs::read_to_string(dir.join(run).join("spec.toml")).unwrap()
}

#[test]
fn digits_are_not_searched_as_clothes() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    write_set(&dir.join("d"), PLAIN, OF_MNIST, 0);
    let sentence =
        |at: &str| format!("the files in {at} are those of mnist, not those of fashion-mnist: use --data mnist");
    let whole = dir.join("d").canonicalize().unwrap();
    let asked = search(dir, &["--data", "fashion-mnist", "--data-dir", "d"]);
    refused(dir, &asked, &sentence(whole.to_str().unwrap()));
    refused(dir, &run(dir, &["data", "info", "fashion-mnist", "--data-dir", "d"]), &sentence("d"));
    refused(dir, &run(dir, &["data", "check", "fashion-mnist", "--data-dir", "d"]), &sentence("d"));
    // By the path they are what they are: digits, which are not flipped.
    let out = search(dir, &["--data", "d", "--out", "run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let spec = spec(dir, "run");
    assert!(spec.contains("name = \"mnist\"") && spec.contains("flip = false"), "{spec}");
    assert!(spec.contains("crop_padding = 2"), "{spec}");
    let note = "hold 40 training and 40 test images, mnist was published with 60000 and 10000";
    assert!(text(&out.stderr).contains(note), "{}", text(&out.stderr));
    let info = text(&run(dir, &["data", "info", "d"]).stdout);
    assert!(info.starts_with("mnist: 40 training") && info.contains("crop padding 2, no flip"), "{info}");
}

#[test]
fn files_of_nobody_need_a_name_and_get_a_note() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    write_set(&dir.join("d"), PLAIN, OF_NOBODY, 0);
    refused(
        dir,
        &search(dir, &["--data", "d"]),
        "the IDX files in d are not those of MNIST, Fashion-MNIST or KMNIST as they were published: say which of them \
         they are like, as with --data mnist --data-dir d",
    );
    let out = search(dir, &["--data", "kmnist", "--data-dir", "d", "--out", "run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let note = "are not those of kmnist as it was published, as far as is known: they are read as your own";
    assert!(text(&out.stderr).contains(note), "{}", text(&out.stderr));
}

#[test]
fn sets_lie_where_torchvision_puts_them() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    write_set(&dir.join("data/MNIST/raw"), PLAIN, OF_MNIST, 0);
    write_set(&dir.join("data/FashionMNIST/raw"), PLAIN, OF_FASHION, 0);
    let parts = ["emnist-letters-train", "emnist-letters-test"];
    write_set(&dir.join("data/EMNIST/raw"), parts, OF_NOBODY, 1);
    for (name, class) in [("mnist", "\n0 "), ("fashion-mnist", "\nT-shirt/top "), ("emnist-letters", "\nz ")] {
        let out = run(dir, &["data", "info", name, "--data-dir", "data"]);
        assert!(out.status.success(), "{name}: {}", text(&out.stderr));
        assert!(text(&out.stdout).contains(class), "{name}: {}", text(&out.stdout));
    }
    refused(
        dir,
        &search(dir, &["--data", "./data"]),
        "./data holds more than one data set, fashion-mnist, mnist, emnist-letters: say which is meant, as with --data \
         fashion-mnist --data-dir ./data",
    );
    let list = text(&run(dir, &["data", "list", "--data-dir", "data"]).stdout);
    for words in ["data/MNIST/raw\n", "data/FashionMNIST/raw\n", "data/EMNIST/raw\n"] {
        assert!(list.contains(words), "`{words}` is not in:\n{list}");
    }
    assert!(list.contains("emnist-balanced    112,800   18,800  28x28x1        47  not found"), "{list}");
}

#[test]
fn a_set_that_is_not_fetched_says_how_to_get_it() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    refused(
        dir,
        &run(dir, &["data", "fetch", "emnist-letters"]),
        "emnist-letters is not fetched by this program: unpack gzip.zip of \
         https://www.nist.gov/itl/products-and-services/emnist-dataset into emnist below the directory of your data sets",
    );
    let all = text(&run(dir, &["data", "list"]).stdout);
    let emnist = dir.join("share/rdarts/emnist");
    let line = "  emnist-byclass, emnist-bymerge, emnist-balanced, emnist-letters, emnist-digits, emnist-mnist: ";
    assert!(all.contains(&format!("{line}{}\n", emnist.display())), "{all}");
    let help = text(&run(dir, &["search", "--help"]).stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(catalog().iter().all(|entry| help.contains(entry.name)), "{help}");
}

#[test]
fn a_smaller_set_is_recorded_and_searched_at_its_size() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let small = ["--set", "data.limit=64", "--set", "data.valid_limit=16", "--set", "data.size=14"];
    let out = search(dir, &[&small[..], &["--out", "run"]].concat());
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("images of 14x14 pixels in gray"), "{}", text(&out.stderr));
    let spec = spec(dir, "run");
    assert!(spec.contains("size = 14") && spec.contains("crop_padding = 1"), "{spec}");
    refused(
        dir,
        &search(dir, &["--set", "data.size=29"]),
        "--set data.size=29: `data.size` is 29, but must be a whole number from 8 to 28, the side of the images of \
         fashion-mini, or 0 for that",
    );
    refused(
        dir,
        &search(dir, &["--data", "svhn", "--set", "data.size=7"]),
        "--set data.size=7: `data.size` is 7, but must be a whole number from 8 to 32, the side of the images of svhn, \
         or 0 for that",
    );
}
