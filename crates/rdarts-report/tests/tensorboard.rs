//! Files for TensorBoard: read back by a reader that knows nothing of the writer, and by TensorBoard itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use rdarts_report::tensorboard::{Writer, export};
use rdarts_report::{Run, read};
use rdarts_run::{EpochRecord, Event};
use serde_json::Value;

mod samples;
#[path = "../../../tests/skip.rs"]
mod skip;

use samples::{SEARCH, Search};

/// A search that goes back.
const ADA: Search<'static> = Search { method: "darts-ada", decay: 0.4, ..SEARCH };

fn run(dir: &Path, of: &Search<'_>) -> Run {
    let path = dir.join("run");
    drop(samples::search(&path, of));
    read(&[path]).remove(0)
}

/// The epochs of the line that a run ended with.
fn kept(run: &Run) -> BTreeMap<usize, EpochRecord> {
    let mut kept = BTreeMap::new();
    for event in &run.events {
        if let Event::Epoch(record) = event {
            kept.retain(|epoch, _| *epoch < record.epoch);
            kept.insert(record.epoch, (**record).clone());
        }
    }
    kept
}

/// A field of a message: its number, a number or the bytes of one, and bytes.
type Field<'a> = (u64, u64, &'a [u8]);

fn varint(bytes: &mut &[u8]) -> u64 {
    let n = bytes.iter().position(|byte| byte & 128 == 0).unwrap() + 1;
    let (number, rest) = bytes.split_at(n);
    *bytes = rest;
    number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 127))
}

fn fields(mut bytes: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                fields.push((key >> 3, varint(&mut bytes), &bytes[..0]));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            kind => panic!("a field of kind {kind}"),
        };
        let (content, rest) = bytes.split_at(length);
        fields.push((key >> 3, 0, content));
        bytes = rest;
    }
    fields
}

/// CRC-32C, bit by bit, masked.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The messages of the one file of a directory.
fn messages(dir: &Path) -> Vec<Vec<u8>> {
    let files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    let files: Vec<&PathBuf> = files.iter().filter(|file| file.is_file()).collect();
    assert!(files.len() == 1 && files[0].to_str().unwrap().contains("tfevents"), "{files:?}");
    let bytes = std::fs::read(files[0]).unwrap();
    let (mut at, mut messages) = (0, Vec::new());
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        assert_eq!(word(at + 8), checksum(&bytes[at..at + 8]));
        let message = &bytes[at + 12..at + 12 + length];
        assert_eq!(word(at + 12 + length), checksum(message));
        messages.push(message.to_vec());
        at += 16 + length;
    }
    messages
}

fn double(bytes: &[u8]) -> f64 {
    f64::from_le_bytes(bytes.try_into().unwrap())
}

#[test]
fn records_read_back_with_their_checksums_and_say_what_the_log_says() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path(), &ADA);
    let written = export(std::slice::from_ref(&run), &dir.path().join("board")).unwrap();
    assert_eq!(written, [dir.path().join("board/run")]);
    let messages = messages(&written[0]);
    assert!(fields(&messages[0]).contains(&(3, 0, b"brain.Event:2")));
    let records: Vec<&EpochRecord> =
        run.events.iter().filter_map(|e| if let Event::Epoch(record) = e { Some(&**record) } else { None }).collect();
    let (mut epochs, mut restarts, mut images, mut last) = (records.iter(), Vec::new(), 0, f64::MIN);
    for message in &messages {
        let event = fields(message);
        let of = |number: u64| event.iter().find(|field| field.0 == number);
        let step = of(2).unwrap().1 as usize;
        assert!(last <= double(of(1).unwrap().2), "time goes on");
        last = double(of(1).unwrap().2);
        if of(7).is_some() {
            restarts.push(step);
        }
        let Some(summary) = of(5) else { continue };
        let values: Vec<Vec<Field<'_>>> = fields(summary.2).into_iter().map(|value| fields(value.2)).collect();
        images += values.iter().filter(|value| value[1].0 == 4).count();
        let scalar = |tag: &str| {
            let value = values.iter().find(|value| value[0].2 == tag.as_bytes() && value[1].0 == 2)?;
            Some(f32::from_le_bytes(value[1].2.try_into().unwrap()))
        };
        // The found cells come last, without scalars.
        let Some(train_loss) = scalar("loss/train_loss") else { continue };
        let record = epochs.next().unwrap();
        assert_eq!((step, train_loss), (record.epoch, record.train_loss as f32));
        assert_eq!(scalar("curvature/eigenvalue"), record.eigenvalue.map(|value| value as f32));
        assert_eq!(scalar("schedule/l2"), Some(record.l2 as f32));
        assert_eq!(scalar("schedule/attempt"), Some(record.attempt as f32));
        let histogram = values.iter().find(|value| value[0].2 == b"alphas/normal").unwrap();
        let histogram = fields(histogram[1].2);
        assert_eq!(double(histogram[2].2), record.alphas_normal.len() as f64);
        let buckets: Vec<f64> = histogram[6].2.chunks(8).map(double).collect();
        let limits: Vec<f64> = histogram[5].2.chunks(8).map(double).collect();
        assert_eq!((buckets.len(), limits.len()), (30, 30));
        let below = record.alphas_normal.iter().filter(|alpha| f64::from(**alpha) <= limits[10]).count();
        assert_eq!(buckets[..=10].iter().sum::<f64>(), below as f64);
    }
    assert!(epochs.next().is_none());
    let decisions: Vec<usize> = run
        .events
        .iter()
        .filter_map(|e| if let Event::Decision(d) = e { Some(d.return_to + 1) } else { None })
        .collect();
    assert!(!decisions.is_empty() && restarts == decisions, "{restarts:?}");
    let changes = 1 + records.windows(2).filter(|pair| pair[0].genotype != pair[1].genotype).count();
    assert!((2 * changes + 2..=2 * (changes + restarts.len()) + 2).contains(&images), "{images} images");
    // The recorded durations, about 31 s an epoch.
    let first = double(fields(&messages[0])[0].2);
    assert!((last - first - 31.4 * records.len() as f64).abs() < 4.0 * records.len() as f64, "{}", last - first);
}

/// What TensorBoard reads in a directory; `None` where a test may not ask it.
fn by_tensorboard(dir: &Path) -> Option<Value> {
    let Some(python) = std::env::var_os("RDARTS_PYTHON") else {
        skip::skip("RDARTS_PYTHON unset", "no Python with tensorboard is named");
        return None;
    };
    if !Command::new(&python).args(["-c", "import tensorboard"]).output().unwrap().status.success() {
        skip::skip("no tensorboard", "the Python of RDARTS_PYTHON lacks it");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_events.py");
    let output = Command::new(python).arg(script).arg(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn rows(of: &Value, kind: &str, tag: &str) -> Vec<Vec<f64>> {
    let row = |row: &Value| row.as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect();
    of[kind][tag].as_array().unwrap_or_else(|| panic!("{kind} {tag}")).iter().map(row).collect()
}

#[test]
fn tensorboard_lists_scalars_histograms_and_images_of_the_kept_line() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path(), &ADA);
    let written = export(std::slice::from_ref(&run), &dir.path().join("board")).unwrap();
    let Some(read) = by_tensorboard(&written[0]) else { return };
    let kept = kept(&run);
    let expected = |value: fn(&EpochRecord) -> f64| -> Vec<Vec<f64>> {
        kept.values().map(|record| vec![record.epoch as f64, f64::from(value(record) as f32)]).collect()
    };
    assert_eq!(read["scalars"].as_object().unwrap().len(), 19);
    assert_eq!(rows(&read, "scalars", "loss/train_loss"), expected(|record| record.train_loss));
    assert_eq!(rows(&read, "scalars", "curvature/eigenvalue"), expected(|record| record.eigenvalue.unwrap()));
    assert_eq!(rows(&read, "scalars", "accuracy/child_accuracy"), expected(|record| record.child_accuracy.unwrap()));
    assert_eq!(rows(&read, "scalars", "schedule/l2"), expected(|record| record.l2));
    for (tag, side) in [("alphas/normal", 0), ("alphas/reduce", 1)] {
        let histograms = rows(&read, "histograms", tag);
        assert_eq!(histograms.len(), kept.len());
        for (row, record) in histograms.iter().zip(kept.values()) {
            let alphas = [&record.alphas_normal, &record.alphas_reduce][side];
            let alphas: Vec<f64> = alphas.iter().map(|&alpha| f64::from(alpha)).collect();
            let n = alphas.len() as f64;
            let min = alphas.iter().copied().fold(f64::INFINITY, f64::min);
            let max = alphas.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = alphas.iter().sum();
            let squares: f64 = alphas.iter().map(|alpha| alpha * alpha).sum();
            assert_eq!(row[..], [record.epoch as f64, min, max, n, sum, squares, n]);
        }
    }
    for tag in ["cells/normal", "cells/reduce", "found/normal", "found/reduce"] {
        let images = read["images"][tag].as_array().unwrap_or_else(|| panic!("{tag}"));
        assert!(!images.is_empty() && images.iter().all(|image| image[1] == 624 && image[3] == true), "{images:?}");
    }
}

#[test]
fn a_run_that_is_gone_on_with_is_one_line_for_tensorboard() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path(), &SEARCH);
    let board = dir.path().join("live");
    let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
    // Killed after its sixth epoch, and gone on with from its fourth on; in the same second too.
    for (begin, end, now) in [(0, 7, 0), (4, 9, 0), (7, run.events.len(), 60)] {
        let mut writer = Writer::create(&board, at(now)).unwrap();
        for (i, event) in run.events[begin..end].iter().enumerate() {
            writer.event(event, at(now + 2 * i as u64)).unwrap();
        }
    }
    assert_eq!(std::fs::read_dir(&board).unwrap().count(), 3);
    let Some(read) = by_tensorboard(&board) else { return };
    let expected: Vec<Vec<f64>> =
        kept(&run).values().map(|r| vec![r.epoch as f64, f64::from(r.valid_accuracy.unwrap() as f32)]).collect();
    assert_eq!(expected.len(), 12);
    assert_eq!(rows(&read, "scalars", "accuracy/valid_accuracy"), expected);
}

#[test]
fn trainings_portfolios_and_what_is_no_run_are_exported() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join("runs").join(name);
    samples::training(&at("a/training"), "DARTS_V2", "fashion-mini", &["boot", "coat"], 0.2);
    samples::portfolio(&at("b/portfolio"));
    let runs = read(&[at("a/training"), at("b/portfolio"), at("absent")]);
    let board = dir.path().join("board");
    for _ in 0..2 {
        let written = export(&runs, &board).unwrap();
        let names: Vec<&str> =
            written.iter().map(|path| path.strip_prefix(&board).unwrap().to_str().unwrap()).collect();
        let searches = ["b/portfolio/search-0", "b/portfolio/search-1", "b/portfolio/search-2"];
        assert_eq!(names[..2], ["a/training", "b/portfolio"]);
        assert!(searches.iter().all(|name| names.contains(name)), "{names:?}");
        for path in &written {
            assert!(messages(path).len() > 3, "{path:?}");
        }
    }
    let Some(read) = by_tensorboard(&board.join("a/training")) else { return };
    assert_eq!(rows(&read, "scalars", "loss/train_loss").len(), 20);
    assert_eq!(rows(&read, "scalars", "test/test_accuracy")[0][1], f64::from(0.8f32));
    assert!(read["images"]["cells/normal"][0][3] == true);
    let read = by_tensorboard(&board.join("b/portfolio")).unwrap();
    assert_eq!(rows(&read, "scalars", "members/valid_accuracy").len(), 3);
}
