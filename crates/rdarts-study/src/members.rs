//! One run within a study: begun, gone on with, or done already, whichever its directory says.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_run::{Environment, RunDir, RunError, RunView, Spec, for_shell};
use rdarts_train::{Job, Observer, Outcome, TrainError, resume, start};

/// Where a run within a study is carried out.
pub(crate) struct Place<'a> {
    /// Its directory.
    pub path: &'a Path,
    /// That of the study.
    pub study: &'a Path,
    /// The machine, for its record.
    pub here: &'a Environment,
    /// Set from outside to end it.
    pub stop: &'a AtomicBool,
}

/// Whether a run has finished.
pub(crate) fn is_done(path: &Path) -> bool {
    RunView::open(path).is_ok_and(|view| view.is_done())
}

/// Begins a run or goes on with it until it is done; false if it was stopped. `prepare` writes what the directory needs
/// beside the spec.
pub(crate) fn carry_out<J: Job, S: Spec>(
    job: &J,
    spec: &S,
    place: &Place<'_>,
    observer: &mut dyn Observer,
    prepare: impl FnOnce(&mut RunDir) -> Result<(), RunError>,
    say: &mut dyn FnMut(&str),
) -> Result<bool, TrainError> {
    let is_begun = match RunView::open(place.path) {
        Ok(_) => true,
        // Not begun, or killed before it was a run; what is more than that is refused when the directory is taken.
        Err(RunError::NotARun { .. }) => false,
        Err(e) => return Err(e.into()),
    };
    let made = match is_begun {
        true => RunDir::open::<S>(place.path),
        false => RunDir::create(place.path, spec),
    };
    let mut dir = made.map_err(|e| of_study(e, place))?;
    dir.write_environment(place.here)?;
    prepare(&mut dir)?;
    let outcome = match is_begun {
        true => resume(job, &mut dir, observer, place.stop, say),
        false => start(job, &mut dir, observer, place.stop),
    };
    // What goes on is the study, not the run alone.
    let [alone, whole] = [place.path, place.study].map(|path| format!("`rdarts resume {}`", for_shell(path)));
    let outcome = outcome.map_err(|e| e.map(|text| text.replace(&alone, &whole)))?;
    Ok(matches!(outcome, Outcome::Finished(_)))
}

/// What the study does about a run that cannot go on: it makes it again.
fn of_study(mut e: RunError, place: &Place<'_>) -> RunError {
    if let RunError::Log { again, .. } | RunError::Events { again, .. } | RunError::NoCheckpoint { again, .. } = &mut e
    {
        *again = format!("rm -r {} && rdarts resume {}", for_shell(place.path), for_shell(place.study));
    }
    e
}

/// Does pieces of work, so many side by side, each by a pool of as many threads; `false` if one of them was stopped. An
/// error of one stops the others, which save themselves.
pub(crate) fn side_by_side(
    jobs: usize,
    threads: usize,
    stop: &AtomicBool,
    work: Vec<Box<dyn FnOnce() -> Result<bool, TrainError> + Send + '_>>,
) -> Result<bool, TrainError> {
    if jobs <= 1 {
        for one in work {
            if !one()? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let left = Mutex::new(work.into_iter());
    let (failed, stopped) = (Mutex::new(None), AtomicBool::new(false));
    let take = || left.lock().expect("no one panics while holding it").next();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let pool = match pool {
                    Ok(pool) => pool,
                    Err(e) => {
                        stop.store(true, Ordering::Relaxed);
                        let error = TrainError::Failed(format!("cannot start {threads} threads: {e}"));
                        failed.lock().expect("no one panics while holding it").get_or_insert(error);
                        return;
                    }
                };
                while let Some(one) = take() {
                    if stop.load(Ordering::Relaxed) {
                        stopped.store(true, Ordering::Relaxed);
                        return;
                    }
                    match pool.install(one) {
                        Ok(true) => {}
                        Ok(false) => return stopped.store(true, Ordering::Relaxed),
                        Err(e) => {
                            stop.store(true, Ordering::Relaxed);
                            failed.lock().expect("no one panics while holding it").get_or_insert(e);
                            return;
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner().expect("all threads have ended") {
        Some(e) => Err(e),
        None => Ok(!stopped.load(Ordering::Relaxed)),
    }
}
