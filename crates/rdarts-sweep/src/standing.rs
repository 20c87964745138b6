//! What became of a member, read from its run directory and from the end of its log.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use rdarts_run::{
    DisparitySearchSpec, DisparityTrainSpec, Event, RunError, RunView, SearchSpec, TrainSpec, check_free,
};
use rdarts_table::Table;

use crate::Folder;
use crate::members::Member;
use crate::plan::{Kind, Plan};

/// What became of a member.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It has not begun.
    Waiting,
    /// It has begun, was stopped or killed, and goes on from its last checkpoint.
    ToBeResumed,
    /// A process works on it.
    AtWork,
    /// Its last process could not do it: the sentence that it ended with.
    Failed(String),
    /// It has finished.
    Done,
}

impl State {
    /// As people and programs are told.
    pub fn name(&self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::ToBeResumed => "to be resumed",
            State::AtWork => "at work",
            State::Failed(_) => "failed",
            State::Done => "done",
        }
    }
}

/// How far a member is.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// What became of it.
    pub state: State,
    /// Epochs of a search or a training, finished runs of a portfolio, trainings of a table.
    pub done: usize,
    /// Of how many, if that is known.
    pub of: Option<usize>,
}

impl Standing {
    /// Reads it.
    pub fn of(folder: &Folder, plan: &Plan, member: &Member) -> Standing {
        let path = folder.run_path(plan, member);
        let failure = || last_failure(&folder.log_path(member));
        match plan.kind {
            Kind::Table => of_table(&path, failure()),
            _ => of_run(plan.kind, &path, failure()),
        }
    }
}

fn of_run(kind: Kind, path: &Path, failure: Option<String>) -> Standing {
    let not_begun = |state| Standing { state, done: 0, of: None };
    let view = match RunView::open(path) {
        Ok(view) if view.kind() == kind.name() => view,
        Ok(view) => {
            let (path, found, wanted) = (path.to_path_buf(), view.kind().to_string(), kind.name());
            return not_begun(State::Failed(RunError::OtherKind { path, found, wanted }.to_string()));
        }
        Err(e @ RunError::NotARun { .. }) => {
            return not_begun(match (check_free(path), failure) {
                (Err(occupied), _) if !path.join("spec.toml").exists() => State::Failed(occupied.to_string()),
                (Err(_), _) => State::Failed(e.to_string()),
                (Ok(()), Some(failure)) => State::Failed(failure),
                (Ok(()), None) => State::Waiting,
            });
        }
        Err(e) => return not_begun(State::Failed(e.to_string())),
    };
    let events = view.good_events().map(|(events, _)| events).unwrap_or_default();
    let epoch = |event: &Event| match event {
        Event::Epoch(record) => Some(record.epoch),
        Event::DisparityEpoch(record) => Some(record.epoch),
        Event::TrainEpoch(record) => Some(record.epoch),
        Event::DisparityTrainEpoch(record) => Some(record.epoch),
        _ => None,
    };
    let n_done = events.iter().rev().find_map(epoch).map_or(0, |epoch| epoch + 1);
    let (done, of) = match kind {
        Kind::Search => (n_done, view.spec::<SearchSpec>().ok().map(|spec| spec.search.epochs)),
        Kind::DisparitySearch => (n_done, view.spec::<DisparitySearchSpec>().ok().map(|spec| spec.search.epochs)),
        Kind::Train => (n_done, view.spec::<TrainSpec>().ok().map(|spec| spec.train.epochs)),
        Kind::DisparityTraining => (n_done, view.spec::<DisparityTrainSpec>().ok().map(|spec| spec.train.epochs)),
        _ => {
            let inner = std::fs::read_dir(path.join("members")).into_iter().flatten().flatten();
            // How many trainings there will be is known only when the searches have ended.
            (inner.filter(|run| run.path().join("DONE").exists()).count(), None)
        }
    };
    let state = match failure {
        _ if view.is_done() => State::Done,
        _ if view.seems_at_work() => State::AtWork,
        Some(failure) => State::Failed(failure),
        None => State::ToBeResumed,
    };
    Standing { state, done, of }
}

fn of_table(path: &Path, failure: Option<String>) -> Standing {
    let failed = |state| failure.map_or(state, State::Failed);
    if !path.exists() {
        return Standing { state: failed(State::Waiting), done: 0, of: None };
    }
    match Table::read(path) {
        Err(e) => Standing { state: State::Failed(e.to_string()), done: 0, of: None },
        Ok((table, _)) => {
            let missing = table.missing().len();
            let of = table.n_architectures() * table.header().seeds.len();
            let is_at_work = || {
                let mut work = path.as_os_str().to_os_string();
                work.push(".work");
                let runs = std::fs::read_dir(Path::new(&work)).into_iter().flatten().flatten();
                runs.into_iter().any(|run| RunView::open(&run.path()).is_ok_and(|view| view.seems_at_work()))
            };
            let state = match missing {
                0 => State::Done,
                _ if is_at_work() => State::AtWork,
                _ => failed(State::ToBeResumed),
            };
            Standing { state, done: of - missing, of: Some(of) }
        }
    }
}

/// How a log line begins that says why a member could not be done.
pub const ERROR: &str = "error: ";

/// The sentence that the last process of a member failed with; none if it did not.
fn last_failure(log: &Path) -> Option<String> {
    let mut file = std::fs::File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(8192))).ok()?;
    let mut bytes = Vec::new();
    file.take(8192).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let last = text.lines().rev().find(|line| !line.trim().is_empty())?;
    last.strip_prefix(ERROR).map(|sentence| sentence.trim().to_string())
}

#[cfg(test)]
mod tests;
