//! Runs for TensorBoard: scalars, histograms of the alphas, cells as pictures.
//!
//! A [`Writer`] turns the events of a run that goes on into a file of TensorBoard as they come; [`export()`] does so with
//! runs that are there. Scalars have the names of `events.jsonl` below a group, such as `loss/train_loss`; their step is
//! the epoch, in a portfolio the member. Numbers are single precision there, as TensorBoard has them.
//!
//! When a run goes back or is gone on with, the file says that it starts again at that epoch, and TensorBoard drops what
//! it had from there on: it shows the line that the run ended with. Events have no clock; whoever writes them as they
//! come says what time it is, and [`export()`] counts the recorded durations back from the time at which the log was last
//! written.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{ErrorKind, Result, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rdarts_run::{DisparityEpoch, EpochRecord, Event, TrainEpoch};
use rdarts_text::escaped;

use crate::cells;
use crate::pixels::encoded;
use crate::read::{Kind, Run};
use crate::task::{Architecture, CellKind};

mod record;

use record::{Value, restart, summary, version};

/// A file of TensorBoard.
#[derive(Debug)]
pub struct Writer {
    file: File,
    /// The epoch that comes next if nothing goes back.
    next: usize,
    /// Of the last pictures.
    genotype: String,
}

impl Writer {
    /// Begins a file in a directory, which is made if it is not there. One that a run is gone on with has several.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(dir: &Path, now: SystemTime) -> Result<Writer> {
        std::fs::create_dir_all(dir)?;
        let seconds = seconds(now);
        let mut n = 0;
        loop {
            // TensorBoard reads the files of a directory in the order of their names.
            let path = dir.join(format!("events.out.tfevents.{:010}.{n}.rdarts", seconds as u64));
            match File::create_new(path) {
                Ok(file) => return Writer::begin(file, seconds),
                Err(e) if e.kind() == ErrorKind::AlreadyExists && n < 1000 => n += 1,
                Err(e) => return Err(e),
            }
        }
    }

    /// Writes what an event says; events that say nothing that TensorBoard shows leave no trace.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn event(&mut self, event: &Event, now: SystemTime) -> Result<()> {
        self.write(event, seconds(now))
    }

    fn begin(mut file: File, wall_time: f64) -> Result<Writer> {
        file.write_all(&version(wall_time))?;
        Ok(Writer { file, next: 0, genotype: String::new() })
    }

    fn write(&mut self, event: &Event, wall_time: f64) -> Result<()> {
        let (step, values) = match event {
            Event::Epoch(record) => {
                self.step_to(record.epoch, wall_time)?;
                let mut values = of_epoch(record);
                if self.genotype != record.genotype {
                    self.genotype.clone_from(&record.genotype);
                    values.extend(pictures("cells", &record.genotype));
                }
                (record.epoch, values)
            }
            Event::DisparityEpoch(record) => {
                self.step_to(record.epoch, wall_time)?;
                let mut values = of_disparity(record);
                if self.genotype != record.genotype {
                    self.genotype.clone_from(&record.genotype);
                    values.extend(pictures("cells", &record.genotype));
                }
                (record.epoch, values)
            }
            Event::TrainStarted(started) => (0, pictures("cells", &started.genotype)),
            Event::TrainEpoch(epoch) => {
                self.step_to(epoch.epoch, wall_time)?;
                (epoch.epoch, of_training(epoch))
            }
            Event::DisparityTrainStarted(started) => (0, pictures("cells", &started.genotype)),
            Event::DisparityTrainEpoch(epoch) => {
                self.step_to(epoch.epoch, wall_time)?;
                let values = [
                    ("loss/train_loss", Some(epoch.train_loss)),
                    ("error/train_error", Some(epoch.train_error)),
                    ("error/valid_error", epoch.valid_error),
                    ("schedule/lr", Some(epoch.lr)),
                ];
                (epoch.epoch, scalars(&values))
            }
            Event::DisparityTrainFinished(finished) => {
                let [all, visible] = [finished.test.as_ref(), finished.test_visible.as_ref()];
                let values = [
                    ("test/error", all.map(|errors| errors.error)),
                    ("test/bad1", all.map(|errors| errors.bad1)),
                    ("test/bad3", all.map(|errors| errors.bad3)),
                    ("test/d1", all.map(|errors| errors.d1)),
                    ("test/error_visible", visible.map(|errors| errors.error)),
                    ("test/bad3_visible", visible.map(|errors| errors.bad3)),
                    ("test/valid_error", finished.valid_error),
                ];
                (finished.epoch, scalars(&values))
            }
            Event::TrainFinished(finished) => {
                let values = [
                    ("test/test_loss", Some(finished.test_loss)),
                    ("test/test_accuracy", Some(finished.test_accuracy)),
                    ("test/test_top5", finished.test_top5),
                    ("test/valid_accuracy", finished.valid_accuracy),
                ];
                (finished.epoch, scalars(&values))
            }
            Event::Finished(finished) => (finished.epoch, pictures("found", &finished.genotype)),
            Event::MemberFound(found) => {
                let values = [
                    ("members/epoch", Some(found.epoch as f64)),
                    ("members/n_params", Some(found.n_params as f64)),
                    ("members/macs", Some(found.macs as f64)),
                ];
                let mut values = scalars(&values);
                values.extend(pictures("members", &found.genotype));
                (found.member, values)
            }
            Event::MemberTrained(trained) => {
                (trained.member, scalars(&[("members/valid_accuracy", Some(trained.valid_accuracy))]))
            }
            Event::BaselineTrained(baseline) => {
                let values = [("valid_accuracy", baseline.valid_accuracy), ("test_accuracy", baseline.test_accuracy)];
                (0, of_baseline(&baseline.name, baseline.n_params, values))
            }
            Event::RobustFinished(finished) => {
                let values = [
                    ("chosen/valid_accuracy", Some(finished.valid_accuracy)),
                    ("chosen/test_accuracy", Some(finished.test_accuracy)),
                    ("chosen/n_params", Some(finished.n_params as f64)),
                ];
                let mut values = scalars(&values);
                values.extend(pictures("chosen", &finished.genotype));
                (finished.member, values)
            }
            Event::DisparityMemberTrained(trained) => {
                (trained.member, scalars(&[("members/valid_error", Some(trained.valid_error))]))
            }
            Event::DisparityBaselineTrained(baseline) => {
                let test_error = baseline.test.as_ref().map(|errors| errors.error);
                let values = [("valid_error", baseline.valid_error), ("test_error", test_error)];
                (0, of_baseline(&baseline.name, baseline.n_params, values))
            }
            Event::DisparityRobustFinished(finished) => {
                let test = finished.test.as_ref();
                let values = [
                    ("chosen/valid_error", Some(finished.valid_error)),
                    ("chosen/test_error", test.map(|errors| errors.error)),
                    ("chosen/test_bad3", test.map(|errors| errors.bad3)),
                    ("chosen/n_params", Some(finished.n_params as f64)),
                ];
                let mut values = scalars(&values);
                values.extend(pictures("chosen", &finished.genotype));
                (finished.member, values)
            }
            _ => return Ok(()),
        };
        if values.is_empty() {
            return Ok(());
        }
        // One call, so that whoever reads along sees whole records.
        self.file.write_all(&summary(wall_time, step as u64, &values))
    }

    fn step_to(&mut self, epoch: usize, wall_time: f64) -> Result<()> {
        if epoch != self.next {
            self.genotype.clear();
            self.file.write_all(&restart(wall_time, epoch as u64))?;
        }
        self.next = epoch + 1;
        Ok(())
    }
}

/// What a cell that no search found has come to.
fn of_baseline(name: &str, n_params: usize, values: [(&str, Option<f64>); 2]) -> Vec<Value> {
    let all = values.into_iter().chain([("n_params", Some(n_params as f64))]);
    all.filter_map(|(what, value)| Some(Value::scalar(&format!("baselines/{}/{what}", escaped(name)), value?)))
        .collect()
}

/// Writes runs for TensorBoard, each into a directory of its own below `dir`, and says which. Directories have the names
/// of the runs below what these have in common, in letters that every system knows; the runs of a portfolio are below it.
/// What an earlier export wrote there is overwritten.
///
/// # Errors
/// If a file cannot be written.
pub fn export(runs: &[Run], dir: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (run, name) in runs.iter().zip(names(runs)) {
        export_one(run, &dir.join(name), &mut written)?;
    }
    Ok(written)
}

fn export_one(run: &Run, dir: &Path, written: &mut Vec<PathBuf>) -> Result<()> {
    if !run.events.is_empty() {
        std::fs::create_dir_all(dir)?;
        // An epoch that was stopped within has several.
        let mut durations: HashMap<(usize, usize), f64> = HashMap::new();
        for timing in &run.timings {
            let seconds = timing.seconds.values().sum::<f64>();
            if (0.0..1e9).contains(&seconds) {
                *durations.entry((timing.attempt, timing.epoch)).or_default() += seconds;
            }
        }
        let lasted = |event: &Event| match event {
            Event::Epoch(record) => durations.get(&(record.attempt, record.epoch)).copied().unwrap_or(0.0),
            Event::DisparityEpoch(record) => durations.get(&(record.attempt, record.epoch)).copied().unwrap_or(0.0),
            Event::DisparityTrainEpoch(epoch) => durations.get(&(epoch.attempt, epoch.epoch)).copied().unwrap_or(0.0),
            Event::TrainEpoch(epoch) => durations.get(&(epoch.attempt, epoch.epoch)).copied().unwrap_or(0.0),
            _ => 0.0,
        };
        let log = run.path.join("events.jsonl");
        let end = std::fs::metadata(log).and_then(|of| of.modified()).map_or(0.0, seconds);
        let mut now = end - run.events.iter().map(lasted).sum::<f64>();
        let mut writer = Writer::begin(File::create(dir.join("events.out.tfevents.0000000000.rdarts"))?, now)?;
        for event in &run.events {
            now += lasted(event);
            writer.write(event, now)?;
        }
        written.push(dir.to_path_buf());
    }
    if let Some(Kind::Robust { searches, chosen, .. }) = &run.kind {
        for (i, search) in searches.iter().enumerate() {
            search.iter().try_for_each(|search| export_one(search, &dir.join(format!("search-{i}")), written))?;
        }
        chosen.iter().try_for_each(|chosen| export_one(chosen, &dir.join("chosen"), written))?;
    }
    Ok(())
}

/// A directory for each run.
fn names(runs: &[Run]) -> Vec<PathBuf> {
    let parts = |run: &Run| -> Vec<String> {
        let normal = run.path.components().filter(|part| matches!(part, Component::Normal(_)));
        normal.map(|part| safe(&part.as_os_str().to_string_lossy())).collect()
    };
    let parts: Vec<Vec<String>> = runs.iter().map(parts).collect();
    let is_common = |i: &usize| parts.iter().all(|of| i + 1 < of.len() && of[*i] == parts[0][*i]);
    let n_common = (0..).take_while(|i| !parts.is_empty() && is_common(i)).count();
    let mut used = BTreeSet::new();
    let name = |parts: &Vec<String>| {
        let name = if parts.len() <= n_common { "run".to_string() } else { parts[n_common..].join("/") };
        let others = (2..).map(|n| format!("{name}-{n}"));
        // Some systems do not tell small letters from large ones.
        let mut free = std::iter::once(name.clone()).chain(others).filter(|name| used.insert(name.to_lowercase()));
        PathBuf::from(free.next().unwrap_or(name.clone()))
    };
    parts.iter().map(name).collect()
}

/// A name in letters that every system knows.
fn safe(name: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.=,+".contains(letter);
    let name: String = name.chars().take(100).map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
    // Neither hidden nor a way out of the directory, and no dot at its end, which some systems drop.
    name.trim_matches('.').to_string() + if name.trim_matches('.').is_empty() { "run" } else { "" }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn of_epoch(record: &EpochRecord) -> Vec<Value> {
    let count = |n: Option<usize>| n.map(|n| n as f64);
    let mut values = scalars(&[
        ("loss/train_loss", Some(record.train_loss)),
        // Random search with weight sharing has no alpha steps.
        ("loss/alpha_loss", Some(record.alpha_loss).filter(|loss| !loss.is_nan())),
        ("loss/valid_loss", record.valid_loss),
        ("loss/child_loss", record.child_loss),
        ("accuracy/train_accuracy", Some(record.train_accuracy)),
        ("accuracy/valid_accuracy", record.valid_accuracy),
        ("accuracy/child_accuracy", record.child_accuracy),
        ("curvature/eigenvalue", record.eigenvalue),
        ("curvature/eigenvalue_bound", record.eigenvalue_bound),
        ("curvature/eigenvalue_error", record.eigenvalue_error),
        ("operations/skip_connects_normal", Some(record.skip_connects_normal as f64)),
        ("operations/skip_connects_reduce", count(record.skip_connects_reduce)),
        ("operations/parameterless_normal", count(record.parameterless_normal)),
        ("operations/parameterless_reduce", count(record.parameterless_reduce)),
        ("schedule/lr", Some(record.lr)),
        ("schedule/l2", Some(record.l2)),
        ("schedule/drop_path", Some(record.drop_path)),
        ("schedule/cutout_prob", Some(record.cutout_prob)),
        ("schedule/attempt", Some(record.attempt as f64)),
    ]);
    values.extend(Value::histogram("alphas/normal", &record.alphas_normal));
    values.extend(Value::histogram("alphas/reduce", &record.alphas_reduce));
    if !record.betas_normal.is_empty() {
        values.extend(Value::histogram("betas/normal", &record.betas_normal));
        values.extend(Value::histogram("betas/reduce", &record.betas_reduce));
    }
    values
}

fn of_disparity(record: &DisparityEpoch) -> Vec<Value> {
    let [skips, parameterless] = [record.skip_connects, record.parameterless].map(|counts| counts.map(|n| n as f64));
    let mut values = scalars(&[
        ("loss/train_loss", Some(record.train_loss)),
        ("loss/alpha_loss", record.alpha_loss),
        ("loss/valid_loss", record.valid_loss),
        ("loss/child_loss", record.child_loss),
        ("error/train_error", Some(record.train_error)),
        ("error/valid_error", record.valid_error),
        ("error/child_error", record.child_error),
        ("curvature/eigenvalue", record.eigenvalue),
        ("curvature/eigenvalue_bound", record.eigenvalue_bound),
        ("curvature/eigenvalue_error", record.eigenvalue_error),
        ("operations/skip_connects_normal", Some(skips[0])),
        ("operations/skip_connects_reduce", Some(skips[1])),
        ("operations/skip_connects_upsample", Some(skips[2])),
        ("operations/parameterless_normal", Some(parameterless[0])),
        ("operations/parameterless_reduce", Some(parameterless[1])),
        ("operations/parameterless_upsample", Some(parameterless[2])),
        ("schedule/lr", Some(record.lr)),
        ("schedule/l2", Some(record.l2)),
        ("schedule/attempt", Some(record.attempt as f64)),
    ]);
    values.extend(Value::histogram("alphas/normal", &record.alphas_normal));
    values.extend(Value::histogram("alphas/reduce", &record.alphas_reduce));
    values.extend(Value::histogram("alphas/upsample", &record.alphas_upsample));
    values
}

fn of_training(epoch: &TrainEpoch) -> Vec<Value> {
    scalars(&[
        ("loss/train_loss", Some(epoch.train_loss)),
        ("loss/valid_loss", epoch.valid_loss),
        ("accuracy/train_accuracy", Some(epoch.train_accuracy)),
        ("accuracy/valid_accuracy", epoch.valid_accuracy),
        ("schedule/lr", Some(epoch.lr)),
        ("schedule/drop_path", Some(epoch.drop_path)),
        ("schedule/cutout_prob", Some(epoch.cutout_prob)),
    ])
}

fn scalars(values: &[(&str, Option<f64>)]) -> Vec<Value> {
    values.iter().filter_map(|(tag, value)| value.map(|value| Value::scalar(tag, value))).collect()
}

/// The cells of a genotype; none of one that cannot be read.
fn pictures(group: &str, genotype: &str) -> Vec<Value> {
    let Some(genotype) = Architecture::read(genotype) else { return Vec::new() };
    let picture = |cell: CellKind| {
        let layout = cells::cell(&genotype, cell, None)?;
        let picture = rdarts_draw::raster(&cells::as_file(&layout), SCALE).ok()?;
        let png = encoded(&picture, 96.0 * SCALE).ok()?;
        Some(Value::image(&format!("{group}/{}", cell.as_str()), [picture.width, picture.height], &png))
    };
    CellKind::ALL.into_iter().filter_map(picture).collect()
}

/// Pixels of a picture for each of a screen, so that it can be looked at larger.
const SCALE: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::State;

    #[test]
    fn runs_get_directories_below_what_they_have_in_common_and_none_leads_elsewhere() {
        let run = |path: &str| Run {
            path: path.into(),
            state: State::Unreadable,
            faults: Vec::new(),
            kind: None,
            events: Vec::new(),
            timings: Vec::new(),
            environment: None,
        };
        let names = |paths: &[&str]| -> Vec<String> {
            let runs: Vec<Run> = paths.iter().map(|path| run(path)).collect();
            names(&runs).iter().map(|name| name.to_str().unwrap().to_string()).collect()
        };
        assert_eq!(names(&["/a/b/s1/seed-1", "/a/b/s2/seed-1"]), ["s1/seed-1", "s2/seed-1"]);
        assert_eq!(names(&["/a/it's \"<x>\n\u{202e}"]), ["it_s___x___"]);
        assert_eq!(names(&["a", "../a", "A", "..", "/"]), ["a", "a-2", "A-3", "run", "run-2"]);
        assert_eq!(names(&["x/.hidden.", "x/..."]), ["hidden", "run"]);
        assert_eq!(names(&[&"é".repeat(300)])[0].len(), 100);
        assert!(names(&[]).is_empty());
    }
}
