//! What a run shows while it goes on: a bar with rate and time left on a terminal, plain lines when piped.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rdarts_data::Watch;
use rdarts_run::{DisparityEpoch, DisparityTrainEpoch, EpochRecord, Event, TrainEpoch};
use rdarts_train::{Observer, Progress};

use crate::boards::Board;
use crate::exit::say;

/// Writes to standard error; results go to standard output.
pub struct Shown {
    bar: Option<ProgressBar>,
    quiet: bool,
    /// Of this process: training, and what was measured after epochs.
    training: Pace,
    measuring: Pace,
    /// When the last step or epoch ended.
    last: Instant,
    /// Weight-step images of the training.
    images: usize,
    /// What they are called.
    of: &'static str,
    /// Steps of the whole search; `None` before the first that this process makes.
    done: Option<u64>,
    total: u64,
    /// Epochs whose measurements are still to come.
    epochs_left: u64,
    table_begun: bool,
    /// When something was last shown without a terminal.
    shown_at: Instant,
    /// Where events go besides.
    board: Board,
}

/// How many of something took how long together.
#[derive(Clone, Copy, Default)]
struct Pace {
    n: u64,
    seconds: f64,
}

impl Pace {
    fn add(&mut self, took: Duration) {
        self.n += 1;
        self.seconds += took.as_secs_f64();
    }

    /// What so many more will take, if there has been one yet.
    fn of(&self, n: u64) -> Option<f64> {
        (self.n > 0).then(|| self.seconds / self.n as f64 * n as f64)
    }
}

/// Without a terminal, a long epoch shows a line this often.
const LINE_EVERY: Duration = Duration::from_secs(60);

impl Shown {
    /// For a run of so many steps, without a bar if none are named; `quiet` shows nothing.
    pub fn new(quiet: bool, total: Option<usize>) -> Self {
        let on_terminal = std::io::stderr().is_terminal() && !quiet && total.is_some();
        let total = total.unwrap_or(0);
        Self {
            bar: on_terminal.then(|| {
                let bar = ProgressBar::new(total as u64);
                let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} steps  {msg}");
                bar.set_style(style.expect("the template is fixed"));
                bar.enable_steady_tick(Duration::from_millis(500));
                bar
            }),
            quiet,
            training: Pace::default(),
            measuring: Pace::default(),
            last: Instant::now(),
            images: 0,
            of: "images",
            done: None,
            total: total as u64,
            epochs_left: 0,
            table_begun: false,
            shown_at: Instant::now(),
            board: Board::default(),
        }
    }

    /// For batches of something else than images.
    pub fn counting(mut self, of: &'static str) -> Self {
        self.of = of;
        self
    }

    /// Writes events for TensorBoard too.
    pub fn write_to(&mut self, board: Board) {
        self.board = board;
    }

    /// Writes there what the run ended with.
    pub fn end_board(&mut self, events: &[Event]) {
        self.board.end(events);
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        if !self.quiet {
            say_above(self.bar.as_ref(), text);
        }
    }

    /// Says something above the bar, `quiet` or not, from whatever thread.
    pub fn say_above(&self) -> impl Fn(&str) + Send + use<> {
        let bar = self.bar.clone();
        move |text| say_above(bar.as_ref(), text)
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Images per second of the training.
    fn rate(&self) -> String {
        match self.training.n {
            0 => "-".into(),
            _ => format!("{:.0}", self.images as f64 / self.training.seconds.max(1e-9)),
        }
    }

    /// What training and measuring take that are still to come; the first epoch does not know of measuring yet.
    fn time_left(&self) -> String {
        let steps = self.total - self.done.unwrap_or(0);
        let measuring = self.measuring.of(self.epochs_left).unwrap_or(0.0);
        self.training.of(steps).map_or("unknown".into(), |training| duration(training + measuring))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.end();
    }
}

impl Observer for Shown {
    fn step(&mut self, p: &Progress) {
        let took = std::mem::replace(&mut self.last, Instant::now()).elapsed();
        let done = (p.epoch * p.length.steps + p.step) as u64;
        let before = self.done.replace(done);
        self.total = (p.length.epochs * p.length.steps) as u64;
        self.epochs_left = (p.length.epochs - p.epoch) as u64;
        // Before the first step of all, and after a rollback, lies more than a step.
        if before.is_some_and(|before| before + 1 == done) {
            self.training.add(took);
            self.images += p.last.n;
        }
        if let Some(bar) = &self.bar {
            bar.set_length(self.total);
            bar.set_position(done);
            bar.set_prefix(format!("epoch {}, the last is {}", p.epoch, p.length.epochs - 1));
            // Nobody knows before the second step.
            let pace = match self.training.n {
                0 => String::new(),
                _ => format!("  {} {}/s  {} left", self.rate(), self.of, self.time_left()),
            };
            bar.set_message(format!("loss {:.3}{pace}", p.last.loss));
        } else if self.shown_at.elapsed() > LINE_EVERY {
            self.shown_at = Instant::now();
            let (rate, of, left) = (self.rate(), self.of, self.time_left());
            self.line(&format!(
                "  epoch {} step {}/{}  loss {:.3}  {rate} {of}/s  {left} left",
                p.epoch, p.step, p.length.steps, p.last.loss
            ));
        }
    }

    fn phase(&mut self, name: &'static str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("measuring: {name}"));
        }
    }

    fn event(&mut self, event: &Event) {
        self.board.event(event);
        match event {
            Event::Epoch(record) => self.epoch(record),
            Event::TrainEpoch(record) => self.train_epoch(record),
            Event::DisparityEpoch(record) => self.disparity_epoch(record),
            Event::DisparityTrainEpoch(record) => self.disparity_train_epoch(record),
            _ => {}
        }
    }

    fn news(&mut self, epoch: usize, reason: &str) {
        self.line(&format!("  after epoch {epoch}: {reason}"));
    }
}

impl Shown {
    /// Takes down the end of an epoch; whether it is the first one shown.
    fn end_epoch(&mut self) -> bool {
        self.shown_at = Instant::now();
        self.measuring.add(std::mem::replace(&mut self.last, self.shown_at).elapsed());
        self.epochs_left = self.epochs_left.saturating_sub(1);
        !std::mem::replace(&mut self.table_begun, true)
    }

    fn train_epoch(&mut self, r: &TrainEpoch) {
        if self.end_epoch() {
            self.line("epoch  train loss    acc  held-out loss    acc       lr  drop path   images/s  time left");
        }
        self.line(&format!(
            "{:>5}  {:>10.4} {:>6}  {:>13} {:>6} {:>8.5}  {:>9.3} {:>10}  {}{}",
            r.epoch,
            r.train_loss,
            percent(Some(r.train_accuracy)),
            r.valid_loss.map_or("-".into(), |v| format!("{v:.4}")),
            percent(r.valid_accuracy),
            r.lr,
            r.drop_path,
            self.rate(),
            self.time_left(),
            if r.is_best && r.valid_accuracy.is_some() { "  best" } else { "" },
        ));
    }

    fn disparity_train_epoch(&mut self, r: &DisparityTrainEpoch) {
        if self.end_epoch() {
            self.line("Errors are end-point errors in pixels.");
            self.line("epoch  train loss   error  held-out error        lr    pairs/s  time left");
        }
        self.line(&format!(
            "{:>5}  {:>10.4} {:>7.3}  {:>14} {:>9.6} {:>10}  {}{}",
            r.epoch,
            r.train_loss,
            r.train_error,
            r.valid_error.map_or("-".into(), |v| format!("{v:.3}")),
            r.lr,
            self.rate(),
            self.time_left(),
            if r.is_best && r.valid_error.is_some() { "  best" } else { "" },
        ));
    }

    fn disparity_epoch(&mut self, r: &DisparityEpoch) {
        if self.end_epoch() {
            self.line(
                "Errors are end-point errors in pixels; skip connections those of the normal + the reduction + the upsampling cell.",
            );
            self.line(
                "epoch  train loss  error  one-shot error  child error  eigenvalue  skips      L2    pairs/s  time left",
            );
        }
        let pixels = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.2}"));
        self.line(&format!(
            "{:>5}  {:>10.4} {:>6}  {:>14}  {:>11}  {:>10}  {:>5} {:>7} {:>10}  {}",
            r.epoch,
            r.train_loss,
            pixels(Some(r.train_error)),
            pixels(r.valid_error),
            pixels(r.child_error),
            r.eigenvalue.map_or("-".into(), |v| format!("{v:.4}")),
            r.skip_connects.map(|n| n.to_string()).join("+"),
            format!("{:.0e}", r.l2),
            self.rate(),
            self.time_left(),
        ));
    }

    fn epoch(&mut self, r: &EpochRecord) {
        if self.end_epoch() {
            self.line(match r.skip_connects_reduce {
                Some(_) => {
                    "Skip connections and parameterless operations are those of the normal + the reduction cell."
                }
                None => "Skip connections and parameterless operations are those of the cell.",
            });
            self.line(
                "epoch  train loss   acc  one-shot acc  child acc  eigenvalue  skips  parameterless      L2   images/s  time left",
            );
        }
        self.line(&format!(
            "{:>5}  {:>10.4} {:>5}  {:>12}  {:>9}  {:>10}  {:>5}  {:>13} {:>7} {:>10}  {}",
            r.epoch,
            r.train_loss,
            percent(Some(r.train_accuracy)),
            percent(r.valid_accuracy),
            percent(r.child_accuracy),
            r.eigenvalue.map_or("-".into(), |v| format!("{v:.4}")),
            pair(Some(r.skip_connects_normal), r.skip_connects_reduce),
            pair(r.parameterless_normal, r.parameterless_reduce),
            format!("{:.0e}", r.l2),
            self.rate(),
            self.time_left(),
        ));
    }
}

/// What runs side by side show: plain lines with the name of the run.
pub struct Named {
    name: String,
    quiet: bool,
    board: Board,
}

impl Named {
    /// For the run of a name.
    pub fn new(name: &str, quiet: bool, board: Board) -> Self {
        Self { name: name.into(), quiet, board }
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            say!("{}: {text}", self.name);
        }
    }

    fn searched(&self, epoch: usize, loss: f64, eigenvalue: Option<f64>) {
        let eigenvalue = eigenvalue.map_or("-".into(), |v| format!("{v:.4}"));
        self.line(&format!("epoch {epoch}, loss {loss:.4}, eigenvalue {eigenvalue}"));
    }

    fn trained(&self, epoch: usize, loss: f64, what: &str, held_out: &str) {
        self.line(&format!("epoch {epoch}, loss {loss:.4}, held-out {what} {held_out}"));
    }
}

impl Observer for Named {
    fn step(&mut self, _: &Progress) {}

    fn phase(&mut self, _: &'static str) {}

    fn event(&mut self, event: &Event) {
        self.board.event(event);
        match event {
            Event::Epoch(r) => self.searched(r.epoch, r.train_loss, r.eigenvalue),
            Event::DisparityEpoch(r) => self.searched(r.epoch, r.train_loss, r.eigenvalue),
            Event::TrainEpoch(r) => self.trained(r.epoch, r.train_loss, "accuracy", &percent(r.valid_accuracy)),
            Event::DisparityTrainEpoch(r) => {
                let error = r.valid_error.map_or("-".into(), |v| format!("{v:.3} px"));
                self.trained(r.epoch, r.train_loss, "error", &error);
            }
            _ => {}
        }
    }

    fn news(&mut self, epoch: usize, reason: &str) {
        self.line(&format!("after epoch {epoch}: {reason}"));
    }
}

/// A fraction in per cent.
fn percent(v: Option<f64>) -> String {
    v.map_or("-".into(), |v| format!("{:.1}%", 100.0 * v))
}

/// A number of the normal and of the reduction cell, or of the one cell there is.
fn pair(normal: Option<usize>, reduce: Option<usize>) -> String {
    let numbers: Vec<String> = [normal, reduce].into_iter().flatten().map(|n| n.to_string()).collect();
    if numbers.is_empty() { "-".into() } else { numbers.join("+") }
}

/// A line above a bar, if there is one.
fn say_above(bar: Option<&ProgressBar>, text: &str) {
    match bar {
        Some(bar) => bar.suspend(|| say!("{text}")),
        None => say!("{text}"),
    }
}

/// The reading of images: a bar on a terminal, a line now and then when piped.
pub struct Reading {
    bar: Option<ProgressBar>,
    quiet: bool,
    /// When the present pass over the files began, and when it was last shown without a terminal.
    times: Mutex<(Instant, Instant)>,
}

impl Reading {
    /// Nothing is shown before something takes long; `quiet` shows nothing.
    pub fn new(quiet: bool) -> Self {
        let on_terminal = std::io::stderr().is_terminal() && !quiet;
        let bar = on_terminal.then(|| {
            let bar = ProgressBar::no_length();
            let style = ProgressStyle::with_template("reading images {wide_bar} {pos}/{len}  {msg}");
            bar.set_style(style.expect("the template is fixed"));
            bar
        });
        Self { bar, quiet, times: Mutex::new((Instant::now(), Instant::now())) }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Reading {
    fn progress(&self, done: usize, total: usize) {
        let mut times = self.times.lock().unwrap_or_else(|e| e.into_inner());
        let (began, shown) = &mut *times;
        let seconds = began.elapsed().as_secs_f64().max(1e-9);
        let rate = done as f64 / seconds;
        let left = duration((total - done) as f64 / rate.max(1e-9));
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(format!("{rate:.0} images/s  {left} left"));
        } else if shown.elapsed() > READING_LINE_EVERY && !self.quiet {
            *shown = Instant::now();
            say!("  reading images: {done}/{total}  {rate:.0} images/s  {left} left");
        }
        if done == total {
            *times = (Instant::now(), Instant::now());
        }
    }

    fn note(&self, text: &str) {
        if !self.quiet {
            say_above(self.bar.as_ref(), text);
        }
    }
}

/// Without a terminal, reading that takes long shows a line this often.
const READING_LINE_EVERY: Duration = Duration::from_secs(10);

/// Seconds as `1:02:03`, `4:05` or `9 s`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{}:{:02}", s / 60, s % 60),
        _ => format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use rdarts_net::Count;
    use rdarts_train::{Length, Step};

    use super::*;

    #[test]
    fn the_time_left_counts_what_is_measured_after_epochs_and_the_rate_does_not() {
        let mut shown = Shown::new(true, Some(40));
        assert_eq!((shown.rate().as_str(), shown.time_left().as_str()), ("-", "unknown"));
        (shown.done, shown.epochs_left, shown.images) = (Some(20), 2, 640);
        shown.training = Pace { n: 10, seconds: 5.0 };
        assert_eq!((shown.rate().as_str(), shown.time_left().as_str()), ("128", "10 s"));
        shown.measuring = Pace { n: 1, seconds: 2.0 };
        assert_eq!(shown.time_left(), "14 s");
        // After the last step what is measured then is still to come.
        shown.step(&at(3, 10));
        assert_eq!(shown.time_left(), "2 s");
    }

    fn at(epoch: usize, step: usize) -> Progress {
        let last = Step { n: 64, loss: 1.0, count: Count { total: 0.0, n: 64 }, side_loss: None };
        Progress { attempt: 0, epoch, step, length: Length { epochs: 4, steps: 10 }, last }
    }

    #[test]
    fn the_first_step_after_a_resumption_or_rollback_counts_no_time() {
        let mut shown = Shown::new(true, Some(40));
        shown.step(&at(1, 5));
        assert_eq!((shown.training.n, shown.images), (0, 0));
        shown.step(&at(1, 6));
        assert_eq!((shown.training.n, shown.images), (1, 64));
        shown.step(&at(0, 1));
        assert_eq!((shown.training.n, shown.images), (1, 64));
    }
}
