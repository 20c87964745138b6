//! Arbitrary and damaged files for every reader of this crate: none may panic, and none may hold more than arrived.
//!
//! `cargo test` tries each with two thousand files. More, and what memory they took at most, by
//! `PROPTEST_CASES=1000000 cargo test --release -p rdarts-data --lib fuzz -- --nocapture`.

use std::io::Write;

use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fetch::{Limits, Reply, judge, unpack};
use crate::formats::records::{IMAGE, Records};
use crate::formats::{calib, disparity, idx, mat, pfm, pnm};
use crate::sets::cifar::{CIFAR10, CIFAR100, CIFAR100_COARSE};
use crate::sets::svhn::tests::{FIXTURES, element, file, take};

/// As many cases as the environment says, else enough for every day.
fn config() -> ProptestConfig {
    let from_env = std::env::var("PROPTEST_CASES").is_ok();
    if from_env { ProptestConfig::default() } else { ProptestConfig::with_cases(2000) }
}

/// Bytes with some of them changed, the even changes among the first `head`, and maybe cut.
fn damaged(bytes: &[u8], head: usize, changes: &[(u16, u8)], end: u16) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let n = bytes.len();
    for (i, &(at, byte)) in changes.iter().enumerate() {
        bytes[usize::from(at) % if i % 2 == 0 { head.min(n) } else { n }] = byte;
    }
    bytes.truncate(if end.is_multiple_of(4) { usize::from(end) % (n + 1) } else { n });
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(u16, u8)>> {
    vec((any::<u16>(), any::<u8>()), 0..6)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A variable in a zlib stream, as programs pack them.
fn packed_element(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    let packed = encoder.finish().unwrap();
    [&15u32.to_le_bytes()[..], &(packed.len() as u32).to_le_bytes(), &packed].concat()
}

/// A tar archive of two files and a directory.
fn tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in [("set/a.bin", &b"first"[..]), ("set/b.bin", &[7; 700])] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Headers without their right checksum are never looked at, so most of them get it.
fn with_checksums(mut tar: Vec<u8>) -> Vec<u8> {
    for at in (0..tar.len()).step_by(512) {
        if tar.len() - at >= 512 && tar[at + 257..at + 262] == *b"ustar" {
            let sum: u32 =
                (at..at + 512).map(|i| if (148..156).contains(&(i - at)) { 32 } else { tar[i].into() }).sum();
            tar[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    tar
}

/// What this process held at most, where the system tells, in MiB.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// Says how it went; the peak is that of all tests of the process so far.
fn tell(what: &str) {
    println!("{what}: {} cases, peak of the process {:?} MiB", config().cases, peak_mib());
}

/// Runs a property and tells of it.
macro_rules! fuzz {
    ($name:ident($($var:ident in $strategy:expr),+ $(,)?) $body:block) => {
        #[test]
        fn $name() {
            proptest!(config(), |($($var in $strategy),+)| $body);
            tell(stringify!($name));
        }
    };
}

fuzz!(svhn_files_that_are_damaged(which in 0usize..4, changes in changes(), end in any::<u16>()) {
    let bytes = damaged(FIXTURES[which], 256, &changes, end);
    if let Ok(records) = take(&bytes, "f") {
        prop_assert_eq!(records.pixels.len(), records.labels.len() * IMAGE);
        prop_assert!(records.labels.iter().all(|&digit| digit < 10));
    }
});

fuzz!(svhn_variables_that_are_damaged_before_they_are_packed(
    which in 1usize..3, changes in changes(), end in any::<u16>(),
) {
    // The plain ones of the fixtures, behind the header of the file.
    let bytes = damaged(&FIXTURES[which][128..], 64, &changes, end);
    let records = take(&file(&[packed_element(&bytes)]), "f");
    prop_assert!(records.is_err() || bytes.len() > IMAGE);
});

fuzz!(mat_files_of_arbitrary_elements(bytes in vec(any::<u8>(), 0..300), kind in 0u32..18, is_packed in any::<bool>()) {
    let inner = element(kind, &bytes);
    let whole = file(&[if is_packed { packed_element(&inner) } else { inner }]);
    let mut n_values = 0;
    let _ = mat::read_arrays(&mut &whole[..], "f", &mut |_, values| {
        while values.read_number().is_ok() {
            n_values += 1;
        }
        Ok(())
    });
    prop_assert!(n_values <= bytes.len());
    let _ = take(&bytes, "f");
});

fuzz!(cifar_files(
    bytes in vec(any::<u8>(), 0..100), n in 0usize..4, cut in 0usize..3100, labels in vec(0u8..24, 8),
) {
    for set in [CIFAR10, CIFAR100, CIFAR100_COARSE] {
        let n_labels = if set.name == "cifar10" { 1 } else { 2 };
        let mut stream: Vec<u8> = labels.chunks(n_labels).take(n).flat_map(|labels| [labels, &[9; IMAGE]].concat()).collect();
        stream.truncate(stream.len().saturating_sub(cut));
        stream.extend(&bytes);
        let mut records = Records::default();
        let read = set.layout.take_records(&mut &stream[..], "f", &mut records, 3);
        prop_assert_eq!(records.pixels.len(), records.labels.len() * IMAGE);
        prop_assert!(records.pixels.len() <= stream.len());
        prop_assert!(records.labels.iter().all(|&label| label < 24));
        prop_assert!(read.is_err() || stream.len() == records.labels.len() * (n_labels + IMAGE));
    }
});

fuzz!(idx_files(
    bytes in vec(any::<u8>(), 0..200), changes in changes(), end in any::<u16>(), n in 0u32..9, is_packed in any::<bool>(),
) {
    let head = [&[0, 0, 8, 3][..], &n.to_be_bytes(), &3u32.to_be_bytes(), &4u32.to_be_bytes()].concat();
    let plain = damaged(&[head, bytes].concat(), 16, &changes, end);
    let stream = if is_packed { gzip(&plain) } else { plain.clone() };
    if let Ok(images) = idx::images_of(&stream[..], "f") {
        prop_assert_eq!(images.pixels.len(), images.n * images.height * images.width);
        prop_assert!(images.pixels.len() <= plain.len());
    }
    if let Ok(labels) = idx::labels_of(&stream[..], "f", 10) {
        prop_assert!(labels.len() <= plain.len() && labels.iter().all(|&label| label < 10));
    }
});

fuzz!(gzip_streams_of_idx_files_that_are_damaged(changes in changes(), end in any::<u16>()) {
    let whole = [&[0, 0, 8, 1][..], &100u32.to_be_bytes(), &[3; 100]].concat();
    let stream = damaged(&gzip(&whole), 32, &changes, end);
    if let Ok(labels) = idx::labels_of(&stream[..], "f", 10) {
        prop_assert_eq!(labels, vec![3; 100]);
    }
});

fuzz!(archives(changes in changes(), end in any::<u16>(), is_checked in any::<bool>(), is_packed in any::<bool>()) {
    let limits = Limits { bytes: 20_000, entries: 5 };
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    std::fs::create_dir(&target).unwrap();
    let whole = tar();
    let stream = if is_packed {
        let changed = damaged(&whole, 512, &changes, end);
        gzip(&if is_checked { with_checksums(changed) } else { changed })
    } else {
        damaged(&gzip(&whole), 64, &changes, end)
    };
    let _ = unpack(&stream[..], "f", &target, limits);
    // Nothing beside the target, no links in it, and no more than the limits.
    prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let (mut dirs, mut n_bytes, mut n) = (vec![target], 0, 0);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            prop_assert!(kind.is_dir() || kind.is_file());
            if kind.is_dir() { dirs.push(entry.path()) } else { (n_bytes, n) = (n_bytes + entry.metadata().unwrap().len(), n + 1) }
        }
    }
    prop_assert!(n_bytes <= limits.bytes && n <= limits.entries);
});

fuzz!(answers_of_servers(
    status in prop_oneof![Just(200u16), Just(206), Just(416), any::<u16>()], length in any::<Option<u8>>(),
    range in prop_oneof![
        "bytes [0-9]{1,2}-[0-9]{1,2}/([0-9]{1,2}|\\*)", "\\PC{0,12}", Just("bytes 18446744073709551615-0/1".to_owned())
    ],
    is_page in any::<bool>(), have in 0u64..20, more in 0u64..20,
) {
    use crate::fetch::Verdict;

    let size = have + more;
    let reply = Reply { status, length: length.map(u64::from), range: Some(range), is_page };
    if let Verdict::Take { at } = judge(&reply, have, size) {
        prop_assert!(at == 0 && status == 200 || at == have && status == 206 && have > 0);
        prop_assert!(reply.length.is_none_or(|length| at + length == size));
    }
});

fuzz!(pfm_files(
    width in "[0-9]{1,10}|\\PC{0,5}", height in "[0-9]{1,10}|\\PC{0,5}", scale in "-?[0-9.e]{1,6}", is_colour in any::<bool>(),
    body in vec(any::<u8>(), 0..200), changes in changes(), end in any::<u16>(),
) {
    let kind = if is_colour { "PF" } else { "Pf" };
    let head = format!("{kind} \n{width} {height}\n{scale}\n");
    let bytes = damaged(&[head.as_bytes(), &body].concat(), head.len(), &changes, end);
    if let Ok(map) = pfm::read(&mut &bytes[..], "f") {
        prop_assert_eq!(map.values.len(), map.height * map.width * map.channels);
        prop_assert!(4 * map.values.len() <= bytes.len() && map.height * map.width > 0);
    }
});

fuzz!(pfm_files_of_the_right_length(
    width in 1usize..7, height in 1usize..5, body in vec(any::<u8>(), 120), changes in changes(), end in any::<u16>(),
) {
    let head = format!("Pf\n{width} {height}\n-1.0\n");
    let bytes = damaged(&[head.as_bytes(), &body[..4 * width * height]].concat(), head.len(), &changes, end);
    if let Ok(map) = pfm::read(&mut &bytes[..], "f") {
        prop_assert_eq!(map.values.len(), map.height * map.width * map.channels);
        prop_assert!(4 * map.values.len() <= bytes.len());
    }
});

fuzz!(pnm_files(
    width in 0u64..6_000_000_000, small in 1usize..9, is_small in any::<bool>(), body in vec(any::<u8>(), 0..200),
    changes in changes(), end in any::<u16>(),
) {
    let width = if is_small { small as u64 } else { width };
    let head = format!("P5\n# {small}\n{width} {}\n255\n", body.len() / small);
    let bytes = damaged(&[head.as_bytes(), &body].concat(), head.len(), &changes, end);
    if let Ok(picture) = pnm::parse(&bytes, "f") {
        prop_assert_eq!(picture.values.len(), picture.height * picture.width * picture.channels);
        prop_assert!(picture.values.len() <= bytes.len() && picture.height * picture.width > 0);
    }
});

fuzz!(texts_of_calibrations(text in "(width|height|ndisp|cam0|\\PC{0,4}) ?= ?(-?[0-9]{1,22}|\\PC{0,6})\r?\n{0,2}", more in "\\PC{0,40}") {
    let _ = calib::parse(&format!("{text}{more}\n{text}"), "f");
});

fuzz!(pictures_of_disparities(bytes in vec(any::<u8>(), 0..60), words in vec(any::<u16>(), 0..60)) {
    let in_range = |values: Vec<f32>, most: f32| values.iter().all(|d| d.is_nan() || (0.0..=most).contains(d));
    prop_assert!(in_range(disparity::sintel(&bytes), 1024.0));
    prop_assert!(in_range(disparity::kitti(&words), 256.0));
    prop_assert!(in_range(disparity::scaled(&bytes, 4.0), 64.0));
    let any: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    prop_assert_eq!(disparity::to_sintel(&any).len(), 3 * any.len());
    prop_assert_eq!(disparity::to_kitti(&any).len(), any.len());
});
