//! `rdarts data fetch`: a data set from its official source.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rdarts_data::fetch::{Arrival, FetchError, Observer, Options, Step, fetch, names, source, usual_target};
use serde_json::{Value, json};

use super::grouped;
use crate::exit::{Exit, INTERRUPTED, out, say};
use crate::progress::duration;
use crate::signals::plain_stop_flag;

/// Fetch a data set from its official source, checked by SHA-256
///
/// A transfer that breaks is gone on with, and so is one of an earlier call. Nothing has its name before its sum was
/// found right, and an archive is unpacked as a whole or not at all. What is there already is verified.
#[derive(clap::Args)]
pub struct Args {
    #[arg(help = format!("Name of the data set: {}", names().join(", ")))]
    name: String,
    /// Put it below this directory [default: $RDARTS_DATA, else rdarts in the directory of your data]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Fetch the same files from this address instead of the official one
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Seconds that the server may be silent
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    if let Some(sentence) = super::stereo::not_fetched(&args.name) {
        return Err(Exit::Input(sentence));
    }
    let source = source(&args.name).map_err(exit)?;
    let to = args.to.map_or_else(usual_target, Ok).map_err(exit)?;
    let options = Options { from: args.from, timeout: Duration::from_secs(args.timeout), ..Options::new(to) };
    let mut shown = Shown::new(args.json)?;
    let fetched = fetch(&source, &options, &mut shown);
    shown.end();
    let fetched = match fetched {
        Err(e @ FetchError::Stopped) => {
            say!("{e}");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        fetched => fetched.map_err(exit)?,
    };
    if args.json {
        let files: Vec<Value> =
            fetched.files.iter().map(|(name, arrival)| json!({ "name": name, "arrival": word(*arrival) })).collect();
        out!("{:#}", json!({ "name": args.name, "dir": fetched.dir, "files": files }));
        return Ok(ExitCode::SUCCESS);
    }
    for (name, arrival) in &fetched.files {
        out!("{name}: {}", sentence(*arrival));
    }
    out!("{} is in {}", args.name, rdarts_data::shown(&fetched.dir));
    Ok(ExitCode::SUCCESS)
}

fn exit(e: FetchError) -> Exit {
    if e.is_input() { Exit::input(e) } else { Exit::Failed(e.to_string()) }
}

fn word(arrival: Arrival) -> &'static str {
    match arrival {
        Arrival::Fetched => "fetched",
        Arrival::Verified => "verified",
        Arrival::Readable => "readable",
    }
}

fn sentence(arrival: Arrival) -> &'static str {
    match arrival {
        Arrival::Fetched => "fetched, its SHA-256 is the published one",
        Arrival::Verified => "there already, its SHA-256 is right",
        Arrival::Readable => {
            "there already; all its files are read without an error, there is no SHA-256 to compare with"
        }
    }
}

/// Progress on standard error: a bar on a terminal, a line now and then when piped.
struct Shown {
    bar: Option<ProgressBar>,
    quiet: bool,
    stop: Arc<AtomicBool>,
    file: String,
    size: u64,
    /// When the transfer began, and at which byte.
    begin: (Instant, u64),
    shown_at: Instant,
}

/// Without a terminal, a transfer shows a line this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Shown {
    /// `quiet` shows nothing. The first Ctrl-C, SIGTERM or SIGHUP stops after what is being read, the second at once.
    fn new(quiet: bool) -> Result<Self, Exit> {
        let stop = plain_stop_flag()?;
        let on_terminal = std::io::stderr().is_terminal() && !quiet;
        let bar = on_terminal.then(|| {
            let bar = ProgressBar::no_length();
            let style =
                ProgressStyle::with_template("{prefix} {wide_bar} {decimal_bytes}/{decimal_total_bytes}  {msg}");
            bar.set_style(style.expect("the template is fixed"));
            bar
        });
        let now = Instant::now();
        Ok(Self { bar, quiet, stop, file: String::new(), size: 0, begin: (now, 0), shown_at: now })
    }

    fn line(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| say!("{text}")),
            None => say!("{text}"),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Rate and time left of the transfer that has come to byte `n`.
    fn rate(&self, n: u64) -> String {
        let seconds = self.begin.0.elapsed().as_secs_f64().max(1e-3);
        let per_second = n.saturating_sub(self.begin.1) as f64 / seconds;
        let left = self.size.saturating_sub(n) as f64 / per_second.max(1.0);
        format!("{:.1} MB/s  {} left", per_second / 1e6, duration(left))
    }
}

impl Observer for Shown {
    fn step(&mut self, step: Step) {
        match step {
            Step::Begin { file, at, size } => {
                (self.file, self.size, self.begin) = (file.to_owned(), size, (Instant::now(), at));
                let from = if at > 0 { format!(" from byte {}", grouped(at as usize)) } else { String::new() };
                self.line(&format!("{file}: {} bytes{from}", grouped(size as usize)));
                if let Some(bar) = &self.bar {
                    bar.set_length(size);
                    bar.set_prefix(self.file.clone());
                }
            }
            Step::Bytes(n) => {
                if let Some(bar) = &self.bar {
                    bar.set_position(n);
                    bar.set_message(self.rate(n));
                } else if self.shown_at.elapsed() > LINE_EVERY {
                    self.shown_at = Instant::now();
                    let percent = 100.0 * n as f64 / self.size.max(1) as f64;
                    self.line(&format!("  {} {percent:.0} %  {}", self.file, self.rate(n)));
                }
            }
            Step::Summing | Step::Unpacking => {
                let doing = if step == Step::Summing { "comparing the SHA-256" } else { "unpacking" };
                if let Some(bar) = &self.bar {
                    bar.set_message(doing);
                }
            }
            Step::Note(text) => self.line(text),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
