//! What a run directory holds, as far as it can be read.
//!
//! A report shows every directory that it is given: one that is damaged shows what is still there and says what is not.
//! So nothing here fails; what is wrong stands in [`Run::faults`], one sentence each.

use std::path::{Path, PathBuf};

use rdarts_run::{
    DisparityRobustSpec, DisparitySearchSpec, DisparityTrainSpec, Environment, Event, Landscape, Method, Mistake,
    PairPictures, RobustSpec, RunView, SearchSpec, Spectrum, Timing, TrainSpec,
};
use rdarts_space::Space;

use crate::task::Task;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has ended by itself.
    Finished,
    /// A process seems to work on it.
    Running,
    /// It can go on, but no process works on it.
    Stopped,
    /// The directory cannot be read as a run.
    Unreadable,
}

/// A run directory as it was read.
#[derive(Clone, Debug)]
pub struct Run {
    /// The directory, as it was named.
    pub path: PathBuf,
    /// How far the run is.
    pub state: State,
    /// What could not be read, one sentence each.
    pub faults: Vec<String>,
    /// The kind of run, and what only that kind has; `None` if it cannot be told.
    pub kind: Option<Kind>,
    /// What happened, up to the first damaged line.
    pub events: Vec<Event>,
    /// How long it took.
    pub timings: Vec<Timing>,
    /// The machine that it last ran on.
    pub environment: Option<Environment>,
}

/// The kinds of run, and what only one of them has.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A search.
    Search {
        /// Its spec; `None` if it is damaged.
        spec: Option<Box<SearchSpec>>,
        /// Its search space; `None` if it was stopped before it was recorded, or is damaged.
        space: Option<Space>,
        /// Whole spectra of the curvature, where they were computed.
        spectra: Vec<Spectrum>,
        /// The loss along lines in alpha space, where it was computed.
        landscapes: Vec<Landscape>,
        /// What random search chose gets right with the shared weights, of all images that train no weights.
        chosen_accuracy: Option<f64>,
    },
    /// A search for disparity.
    DisparitySearch {
        /// Its spec; `None` if it is damaged.
        spec: Option<Box<DisparitySearchSpec>>,
        /// Pairs as it sees them at its end, each with its pictures as PNG files.
        maps: Vec<PairPictures>,
    },
    /// A training from scratch for disparity.
    DisparityTraining {
        /// Its spec; `None` if it is damaged.
        spec: Option<Box<DisparityTrainSpec>>,
        /// Test pairs as the network sees them, each with its pictures as PNG files.
        maps: Vec<PairPictures>,
    },
    /// A training from scratch.
    Train {
        /// Its spec; `None` if it is damaged.
        spec: Option<Box<TrainSpec>>,
        /// The test pictures that the network is most wrong about, each as a PNG file.
        mistakes: Vec<(Mistake, Vec<u8>)>,
    },
    /// A portfolio.
    Robust {
        /// What its networks are for.
        task: Task,
        /// Its spec; `None` if it is damaged.
        spec: Option<PortfolioSpecs>,
        /// The searches of its members as far as they were begun, by member.
        searches: Vec<Option<Run>>,
        /// The whole training of what was chosen.
        chosen: Option<Box<Run>>,
    },
}

/// The spec of a portfolio, for either task.
#[derive(Clone, Debug)]
pub enum PortfolioSpecs {
    /// On images.
    Images(Box<RobustSpec>),
    /// On pairs.
    Pairs(Box<DisparityRobustSpec>),
}

impl PortfolioSpecs {
    /// The number of searches.
    pub fn members(&self) -> usize {
        match self {
            Self::Images(spec) => spec.members(),
            Self::Pairs(spec) => spec.members(),
        }
    }
}

/// Reads run directories, in their order.
pub fn read(paths: &[PathBuf]) -> Vec<Run> {
    paths.iter().map(|path| read_one(path)).collect()
}

fn read_one(path: &Path) -> Run {
    let mut run = Run {
        path: path.to_path_buf(),
        state: State::Unreadable,
        faults: Vec::new(),
        kind: None,
        events: Vec::new(),
        timings: Vec::new(),
        environment: None,
    };
    let view = match RunView::open(path) {
        Ok(view) => view,
        Err(err) => {
            run.faults.push(err.to_string());
            return run;
        }
    };
    run.state = match view.is_done() {
        true => State::Finished,
        false if view.seems_at_work() => State::Running,
        false => State::Stopped,
    };
    let faults = &mut run.faults;
    if let Some((events, fault)) = kept(view.good_events(), faults) {
        let good = events.iter().position(|event| !is_plausible(event)).unwrap_or(events.len());
        if good < events.len() {
            let log = rdarts_text::shown(view.events_path());
            faults.push(format!(
                "`{log}`, line {}, has a number that no run has; it and what follows are left out",
                good + 1
            ));
        }
        run.events = events;
        run.events.truncate(good);
        if let Some(fault) = fault {
            faults.push(format!("{fault}; what follows that line is left out"));
        }
    }
    // A run that was stopped at once has none of these files yet.
    run.timings =
        if view.timings_path().exists() { kept(view.timings(), faults).unwrap_or_default() } else { Vec::new() };
    run.environment = kept(view.environment(), faults).flatten();
    run.kind = match view.kind() {
        "search" => Some(search(&view, path, run.state, faults)),
        "train" => Some(Kind::Train {
            spec: kept(view.spec(), faults).map(Box::new),
            mistakes: kept(view.mistakes(), faults).unwrap_or_default(),
        }),
        "robust" => Some(robust(&view, &run.events, Task::Classification, faults)),
        "disparity-robust" => Some(robust(&view, &run.events, Task::Disparity, faults)),
        "disparity-search" => Some(Kind::DisparitySearch {
            spec: kept(view.spec(), faults).map(Box::new),
            maps: kept(view.maps(), faults).unwrap_or_default(),
        }),
        "disparity-training" => Some(Kind::DisparityTraining {
            spec: kept(view.spec(), faults).map(Box::new),
            maps: kept(view.maps(), faults).unwrap_or_default(),
        }),
        other => {
            faults
                .push(format!("this program shows no runs of kind {}: use a newer rdarts", rdarts_text::quote(other)));
            None
        }
    };
    run
}

fn search(view: &RunView, path: &Path, state: State, faults: &mut Vec<String>) -> Kind {
    let spec: Option<Box<SearchSpec>> = kept(view.spec(), faults).map(Box::new);
    let space = kept(view.space(), faults).flatten().and_then(|text| {
        let file = rdarts_text::shown(path.join("space.toml"));
        kept(Space::from_toml(&text, &file), faults)
    });
    let is_random = |spec: &&SearchSpec| spec.search.method == Method::RsWs && state == State::Finished;
    let chosen_accuracy = spec.as_deref().filter(is_random).and_then(|spec| chosen_accuracy(view, spec));
    Kind::Search {
        spec,
        space,
        spectra: kept(view.spectra(), faults).unwrap_or_default(),
        landscapes: sound(kept(view.landscapes(), faults).unwrap_or_default(), path, faults),
        chosen_accuracy,
    }
}

/// The best score of the samples that were scored on all images, from the last checkpoint. Whoever deleted the checkpoints of
/// a finished run does without.
fn chosen_accuracy(view: &RunView, spec: &SearchSpec) -> Option<f64> {
    let newest = view.checkpoints().ok()?.into_iter().next()?;
    let checkpoint = view.load_checkpoint(&newest).ok()?;
    let of_finalists = checkpoint.tensors.get("sample_accuracy")?.as_f32()?.get(spec.search.samples..)?;
    of_finalists.iter().copied().map(f64::from).reduce(f64::max)
}

fn robust(view: &RunView, events: &[Event], task: Task, faults: &mut Vec<String>) -> Kind {
    let spec = match task {
        Task::Classification => kept(view.spec(), faults).map(|spec| PortfolioSpecs::Images(Box::new(spec))),
        Task::Disparity => kept(view.spec(), faults).map(|spec| PortfolioSpecs::Pairs(Box::new(spec))),
    };
    let members = events.iter().find_map(|event| match event {
        Event::RobustStarted(started) => Some(started.members.len()),
        _ => None,
    });
    let member = |name: &str| Some(view.member_path(name)).filter(|path| path.exists()).map(|path| read_one(&path));
    let n = members.or(spec.as_ref().map(|spec| spec.members())).unwrap_or(0);
    Kind::Robust {
        task,
        spec,
        searches: (0..n).map(|i| member(&format!("search-{i}"))).collect(),
        chosen: member("chosen").map(Box::new),
    }
}

/// Whether the whole numbers of an event are some that a run can have, so that tables may count with them.
fn is_plausible(event: &Event) -> bool {
    // More epochs than any spec may have, and more images than any set has.
    let all = |numbers: &[usize]| numbers.iter().all(|&n| n < 1 << 40);
    match event {
        Event::Epoch(e) => {
            let in_cells =
                [e.skip_connects_reduce, e.parameterless_normal, e.parameterless_reduce].map(|n| n.unwrap_or(0));
            all(&[e.attempt, e.epoch, e.skip_connects_normal]) && all(&in_cells)
        }
        Event::DisparityEpoch(e) => all(&[e.attempt, e.epoch]) && all(&e.skip_connects) && all(&e.parameterless),
        Event::Decision(decision) => all(&[decision.attempt, decision.epoch, decision.return_to]),
        Event::Selected(s) => {
            let fits = s.candidates.len() == s.accuracy.len() && s.kept.iter().all(|kept| *kept < s.candidates.len());
            all(&[s.attempt, s.epoch, s.node, s.input.unwrap_or(0)]) && fits
        }
        Event::Finished(finished) => all(&[finished.attempt, finished.epoch]),
        Event::DisparityTrainEpoch(epoch) => all(&[epoch.attempt, epoch.epoch]),
        Event::DisparityTrainFinished(finished) => all(&[finished.epoch, finished.n_test]),
        Event::TrainEpoch(epoch) => all(&[epoch.attempt, epoch.epoch]),
        Event::TrainFinished(finished) => {
            all(&[finished.epoch, finished.n_test]) && finished.confusion.iter().all(|row| all(row))
        }
        _ => true,
    }
}

/// The landscapes that can be drawn; the others go to the faults.
fn sound(landscapes: Vec<Landscape>, path: &Path, faults: &mut Vec<String>) -> Vec<Landscape> {
    let mut sound = Vec::new();
    for (i, landscape) in landscapes.into_iter().enumerate() {
        let Some(fault) = fault_of(&landscape) else {
            sound.push(landscape);
            continue;
        };
        let file = rdarts_text::shown(path.join("landscapes.jsonl"));
        faults.push(format!("`{file}`, line {}, is left out: {fault}", i + 1));
    }
    sound
}

/// Why a landscape cannot be drawn.
fn fault_of(landscape: &Landscape) -> Option<&'static str> {
    let Landscape { distances, lines, .. } = landscape;
    let numbers = lines.iter().flat_map(|line| line.losses.iter().chain([&line.slope, &line.curvature]));
    match () {
        () if lines.is_empty() => Some("it has no lines"),
        () if lines.iter().any(|line| line.losses.len() != distances.len()) => {
            Some("a line has not one loss for each distance")
        }
        () if !numbers.chain(distances).all(|number| number.is_finite()) => Some("a number of it is not finite"),
        () if distances.len() < 2 || !distances.is_sorted_by(|a, b| a < b) || !distances.contains(&0.0) => {
            Some("its distances do not rise through 0")
        }
        () => None,
    }
}

/// What could be read; what is wrong goes to the faults.
fn kept<T, E: std::fmt::Display>(result: Result<T, E>, faults: &mut Vec<String>) -> Option<T> {
    // The page says it in its own line, so line ends within a message would part it.
    result.map_err(|err| faults.push(err.to_string().replace('\n', " "))).ok()
}

#[cfg(test)]
mod tests {
    use rdarts_run::LandscapeLine;

    use super::*;

    #[test]
    fn a_landscape_that_cannot_be_drawn_is_told_and_left_out() {
        let line = |losses: &[f64]| LandscapeLine {
            name: "dominant eigenvector".into(),
            slope: 0.1,
            curvature: 0.5,
            losses: losses.to_vec(),
        };
        let landscape = |distances: &[f64], lines: &[LandscapeLine]| Landscape {
            attempt: 0,
            epoch: 3,
            batches: 4,
            images: "fixed".into(),
            distances: distances.to_vec(),
            lines: lines.to_vec(),
        };
        let good = landscape(&[-1.0, 0.0, 1.0], &[line(&[1.0, 0.9, 1.2]), line(&[0.9, 0.9, 0.9])]);
        let steep = LandscapeLine { curvature: f64::NAN, ..line(&[1.0, 0.9, 1.2]) };
        let rows = [
            (good.clone(), None),
            (landscape(&[-1.0, 0.0, 1.0], &[]), Some("it has no lines")),
            (landscape(&[], &[]), Some("it has no lines")),
            (landscape(&[], &[line(&[])]), Some("do not rise through 0")),
            (landscape(&[0.0], &[line(&[1.0])]), Some("do not rise through 0")),
            (landscape(&[-1.0, 0.5, 1.0], &[line(&[1.0, 0.9, 1.2])]), Some("do not rise through 0")),
            (landscape(&[0.0, 0.0, 1.0], &[line(&[1.0, 0.9, 1.2])]), Some("do not rise through 0")),
            (landscape(&[-1.0, 0.0, 1.0], &[line(&[1.0, 0.9, 1.2]), line(&[1.0])]), Some("not one loss")),
            (landscape(&[-1.0, 0.0, 1.0], &[line(&[1.0, f64::INFINITY, 1.2])]), Some("not finite")),
            (landscape(&[-1.0, 0.0, f64::NAN], &[line(&[1.0, 0.9, 1.2])]), Some("not finite")),
            (landscape(&[-1.0, 0.0, 1.0], &[steep]), Some("not finite")),
        ];
        for (landscape, expected) in rows {
            let mut faults = Vec::new();
            let kept = sound(vec![good.clone(), landscape], Path::new("run"), &mut faults);
            assert_eq!((kept.len(), faults.len()), if expected.is_some() { (1, 1) } else { (2, 0) });
            if let Some(expected) = expected {
                assert!(faults[0].starts_with("`run/landscapes.jsonl`, line 2, is left out: "), "{faults:?}");
                assert!(faults[0].contains(expected), "{faults:?}");
            }
        }
    }
}
