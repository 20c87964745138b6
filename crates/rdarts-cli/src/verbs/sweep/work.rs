//! The process of a member: what it is started with, what it says, how it is told to save, how it ended.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rdarts_run::{RunError, RunView, check_free, for_shell, try_lock};
use rdarts_sweep::members::{begin, go_on};
use rdarts_sweep::plan::Kind;
use rdarts_sweep::standing::ERROR;
use rdarts_sweep::{Hands, Member, Standing, State};

use super::Sweep;
use crate::exit::{INTERRUPTED, say};

/// What is to be done with a member now.
pub enum Step {
    /// Nothing any more.
    Done,
    /// The program is started with these arguments.
    Start(Vec<OsString>),
    /// Another process has its directory; one that was killed elsewhere loses it in so long.
    Taken(String, Option<Duration>),
    /// It cannot be done.
    Refused(String),
}

/// Looks at the directory of a member, under its lock.
pub fn step(sweep: &Sweep, member: &Member, hands: &Hands) -> Step {
    let (plan, path, base) = (&sweep.plan, sweep.folder.run_path(&sweep.plan, member), sweep.folder.base_path());
    let start = || Step::Start(begin(plan, member, &path, &base, hands));
    if plan.kind == Kind::Table {
        // Its processes share it, by a lock of every training.
        let is_done = Standing::of(&sweep.folder, plan, member).state == State::Done;
        return if is_done { Step::Done } else { start() };
    }
    let locked = |then: &dyn Fn() -> Step| match try_lock(&path) {
        Ok(warnings) => {
            warnings.iter().for_each(|warning| say!("warning: {warning}"));
            then()
        }
        Err(e @ RunError::Locked { free_in, .. }) => Step::Taken(e.to_string(), free_in),
        Err(e) => Step::Refused(e.to_string()),
    };
    match RunView::open(&path) {
        Ok(view) if view.kind() != plan.kind.name() => {
            let (path, found, wanted) = (path.clone(), view.kind().to_string(), plan.kind.name());
            Step::Refused(RunError::OtherKind { path, found, wanted }.to_string())
        }
        Ok(view) if view.is_done() => Step::Done,
        Ok(_) => locked(&|| Step::Start(go_on(plan, member, &path, &base, hands))),
        Err(RunError::NotARun { .. }) => match check_free(&path) {
            Err(e) => Step::Refused(e.to_string()),
            Ok(()) if path.exists() => locked(&start),
            Ok(()) => start(),
        },
        Err(e) => Step::Refused(e.to_string()),
    }
}

/// A process at work on a member.
pub struct Worker {
    child: Child,
    said: JoinHandle<Option<String>>,
}

/// How a process ended.
pub enum Ended {
    /// By itself, with its work done.
    Well,
    /// It was told to save and did.
    Saved,
    /// With this sentence; the log has it too, where it could be written.
    Badly(String),
    /// The system or a person ended it; it goes on from its last checkpoint.
    Killed(String),
}

impl Worker {
    /// Starts this program; what it says goes to the log and, with `echo`, to standard error.
    pub fn start(args: &[OsString], log: &Path, echo: bool) -> io::Result<Worker> {
        let program = std::env::current_exe()?;
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(&program);
        command.args(args).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        #[cfg(unix)]
        {
            // The Ctrl-C of a terminal goes to whole groups; members are told by us, once.
            use std::os::unix::process::CommandExt;
            command.process_group(0);
        }
        let child = command.spawn()?;
        // Or the pipe would never end.
        drop(command);
        let mut log = log.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            let mut file = OpenOptions::new().create(true).append(true).open(log)?;
            let line = args.iter().map(|arg| for_shell(Path::new(arg))).collect::<Vec<_>>().join(" ");
            writeln!(file, "$ rdarts {line}").map(|()| file)
        });
        let listen = move || {
            let (mut reader, mut line, mut failure) = (BufReader::new(reader), Vec::new(), None);
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                if let Ok(file) = &mut log {
                    // A full disk ends no member that could go on.
                    let _ = file.write_all(&line);
                }
                let text = String::from_utf8_lossy(&line).trim_end().to_string();
                if echo {
                    say!("{text}");
                }
                if !text.is_empty() {
                    failure = text.strip_prefix(ERROR).map(str::to_string);
                }
                line.clear();
            }
            failure
        };
        Ok(Worker { child, said: std::thread::Builder::new().name("log".into()).spawn(listen)? })
    }

    /// Tells it to save and to end.
    pub fn stop(&self) {
        // The one way to send a signal without unsafe code that needs nothing but a shell.
        let id = self.child.id().to_string();
        let _ = Command::new("sh").args(["-c", "kill -s TERM \"$1\"", "sh", &id]).stderr(Stdio::null()).status();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended; waits until it has.
    pub fn end(mut self) -> Ended {
        let status = self.child.wait();
        let failure = self.said.join().ok().flatten();
        match status {
            Err(e) => Ended::Killed(format!("cannot wait for it: {e}")),
            Ok(status) => match (status.code(), failure) {
                (Some(0), _) => Ended::Well,
                (Some(code), _) if code == i32::from(INTERRUPTED) => Ended::Saved,
                (Some(_), Some(failure)) => Ended::Badly(failure),
                (Some(code), None) => Ended::Badly(format!("it ended with code {code}; its log says more")),
                (None, _) => Ended::Killed(format!("it was killed ({status})")),
            },
        }
    }
}
