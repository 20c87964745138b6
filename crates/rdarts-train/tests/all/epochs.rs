//! The loop over a job that is none of a search: a few numbers, running state and one way back. Stopped anywhere and resumed
//! it writes the same bytes, and what is not a parameter is saved too.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_data::DataError;
use rdarts_net::Count;
use rdarts_run::{
    Decision, DecisionKind, EVENT_FORMAT, EpochRecord, Event, Finished, RunDir, RunView, SearchSpec, Spec, Started,
};
use rdarts_train::optim::Sgd;
use rdarts_train::state::{Packed, Unpacked};
use rdarts_train::{
    Job, KnownSets, Length, Measured, Measuring, Next, Observer, Outcome, Position, Progress, State, Step, TrainError,
    Verdict, resume, start,
};

/// Follows the numbers that it is given; goes back once, after epoch 3 to epoch 1.
struct Mean {
    spec: SearchSpec,
}

const LENGTH: Length = Length { epochs: 6, steps: 5 };

impl Job for Mean {
    type Extra = u64;
    type Batch = f32;
    type Found = Vec<f32>;

    fn length(&self) -> Length {
        LENGTH
    }

    fn spec_text(&self) -> String {
        self.spec.to_toml()
    }

    fn fingerprint(&self) -> &str {
        "numbers"
    }

    fn is_of(&self, spec: &str) -> bool {
        spec == self.spec.to_toml()
    }

    fn begin(&self) -> (Event, State<u64>) {
        let started = Started {
            format: EVENT_FORMAT,
            rdarts: "test".into(),
            space: String::new(),
            data: String::new(),
            seed: 1,
            n_alphas: 0,
            n_weights: 2,
            n_train: LENGTH.steps,
            n_valid: 0,
            steps_per_epoch: LENGTH.steps,
        };
        (Event::Started(started), self.blank())
    }

    fn blank(&self) -> State<u64> {
        let sgd = Sgd::new(2, 0.9, 1e-2);
        State { at: Position::default(), weights: vec![1.0, -1.0].into(), sgd, running: vec![0.0; 3].into(), extra: 0 }
    }

    fn pack<'a>(&self, extra: &'a u64) -> Packed<'a> {
        Packed { scalars: [("steps_seen".to_string(), (*extra).into())].into_iter().collect(), tensors: Vec::new() }
    }

    fn unpack(&self, extra: &mut u64, file: &mut Unpacked<'_>) -> Result<(), TrainError> {
        *extra = file.count("steps_seen")?;
        Ok(())
    }

    fn batches(&self, at: &Position) -> Box<dyn Iterator<Item = Result<f32, DataError>> + Send> {
        let (attempt, epoch) = (at.attempt, at.epoch);
        Box::new((at.step..LENGTH.steps).map(move |step| Ok((attempt * 100 + epoch * 10 + step) as f32)))
    }

    fn step(&self, state: &mut State<u64>, batch: f32) -> Result<Step, TrainError> {
        let gradient: Vec<f32> = state.weights.iter().map(|w| w - batch).collect();
        state.sgd.step(&mut state.weights, &gradient, 0.01);
        state.running.iter_mut().for_each(|r| *r = 0.9 * *r + 0.1 * batch);
        state.extra += 1;
        Ok(Step { n: 2, loss: f64::from(gradient[0]).powi(2), count: Count { total: 1.0, n: 2 }, side_loss: None })
    }

    fn measure(&self, state: &State<u64>, measuring: &mut Measuring<'_>) -> Result<Option<Measured>, TrainError> {
        measuring.phase("mean", "mean", |_| ());
        if measuring.is_stopped() {
            return Ok(None);
        }
        let at = &state.at;
        let record = EpochRecord {
            attempt: at.attempt,
            epoch: at.epoch,
            lr: 0.01,
            l2: state.sgd.l2,
            drop_path: 0.0,
            cutout_prob: 0.0,
            train_loss: at.mean_loss(),
            train_accuracy: at.count().mean(),
            alpha_loss: 0.0,
            valid_loss: None,
            valid_accuracy: None,
            child_loss: None,
            child_accuracy: None,
            eigenvalue: Some(f64::from(state.running[0])),
            eigenvalue_bound: None,
            eigenvalue_error: None,
            skip_connects_normal: 0,
            skip_connects_reduce: None,
            parameterless_normal: None,
            parameterless_reduce: None,
            genotype: String::new(),
            alphas_normal: state.weights.to_vec(),
            alphas_reduce: Vec::new(),
            betas_normal: Vec::new(),
            betas_reduce: Vec::new(),
        };
        let history = Some(record.eigenvalue);
        Ok(Some(Measured { event: Event::Epoch(Box::new(record)), history, error: None, decided: Vec::new() }))
    }

    fn judge(&self, state: &State<u64>) -> Verdict {
        let at = &state.at;
        if at.epoch != 3 || at.attempt > 0 {
            return Verdict { next: Next::On, event: None, reason: String::new(), is_news: false };
        }
        let event = Event::Decision(Decision {
            attempt: 0,
            epoch: 3,
            kind: DecisionKind::Rollback,
            return_to: 1,
            smoothed_now: 0.0,
            smoothed_before: 0.0,
            ratio: 0.0,
            l2_old: state.sgd.l2,
            l2_new: 0.1,
            reason: "once".into(),
        });
        Verdict { next: Next::Back { epoch: 1, l2: 0.1 }, event: Some(event), reason: "once".into(), is_news: true }
    }

    fn earliest_return(&self, state: &State<u64>) -> Option<usize> {
        (state.at.attempt == 0).then_some(1)
    }

    fn keeps_all(&self) -> bool {
        false
    }

    fn finish(
        &self,
        dir: &mut RunDir,
        state: &State<u64>,
        _: Option<(usize, String)>,
        _: &mut Measuring<'_>,
    ) -> Result<Option<Vec<f32>>, TrainError> {
        let (attempt, epoch) = (state.at.attempt, state.at.epoch);
        let finished = Finished { reason: "done".into(), attempt, epoch, genotype: String::new() };
        dir.append_event(&Event::Finished(finished)).map_err(TrainError::failed)?;
        dir.mark_done("done").map_err(TrainError::failed)?;
        Ok(Some([&state.weights[..], &state.running].concat()))
    }
}

/// Stops after so many steps.
struct StopAfter<'a> {
    left: usize,
    stop: &'a AtomicBool,
    news: Vec<String>,
}

impl Observer for StopAfter<'_> {
    fn step(&mut self, _: &Progress) {
        self.left = self.left.saturating_sub(1);
        self.stop.store(self.left == 0, Ordering::Relaxed);
    }
    fn phase(&mut self, _: &'static str) {}
    fn event(&mut self, _: &Event) {}
    fn news(&mut self, epoch: usize, reason: &str) {
        self.news.push(format!("{epoch} {reason}"));
    }
}

/// Runs to the end, stopping every so many steps; what was found, and the news.
fn run(path: &Path, every: usize) -> (Vec<f32>, Vec<String>) {
    let job = Mean { spec: SearchSpec::resolve(Some("demo"), None, &[], &KnownSets).unwrap() };
    let (stop, mut news) = (AtomicBool::new(false), Vec::new());
    let mut dir = Some(RunDir::create(path, &job.spec).unwrap());
    let mut begun = false;
    loop {
        stop.store(false, Ordering::Relaxed);
        let mut observer = StopAfter { left: every, stop: &stop, news: Vec::new() };
        let mut open = dir.take().unwrap_or_else(|| RunDir::open::<SearchSpec>(path).unwrap());
        let outcome = match begun {
            false => start(&job, &mut open, &mut observer, &stop),
            true => resume(&job, &mut open, &mut observer, &stop, &mut |_| ()),
        };
        begun = true;
        news.append(&mut observer.news);
        if let Outcome::Finished(found) = outcome.unwrap() {
            return (found, news);
        }
    }
}

#[test]
fn a_job_goes_back_and_on_with_the_same_bits_wherever_it_is_stopped() {
    let tmp = tempfile::tempdir().unwrap();
    let events = |path: &Path| std::fs::read_to_string(path.join("events.jsonl")).unwrap();
    let whole = tmp.path().join("whole");
    let (found, news) = run(&whole, usize::MAX);
    assert_eq!(news, ["3 once"]);
    // Epochs 0 to 3, then 2 to 5 with the other L2.
    let view = RunView::open(&whole).unwrap();
    let epochs: Vec<(usize, f64)> = view
        .events()
        .unwrap()
        .iter()
        .filter_map(|e| if let Event::Epoch(r) = e { Some((r.epoch, r.l2)) } else { None })
        .collect();
    assert_eq!(epochs.iter().map(|e| e.0).collect::<Vec<_>>(), [0, 1, 2, 3, 2, 3, 4, 5]);
    assert!(epochs[..4].iter().all(|e| e.1 == 1e-2) && epochs[4..].iter().all(|e| e.1 == 0.1));
    // An epoch's end is measured again if it is stopped there, so that every fifth step would never get beyond it.
    for every in [2, 3, 7] {
        let path = tmp.path().join(every.to_string());
        assert_eq!(run(&path, every).0, found, "stopped every {every} steps");
        assert_eq!(events(&path), events(&whole), "stopped every {every} steps");
    }
    // Running state is in the file, and a state without it is refused.
    let name = &view.checkpoints().unwrap()[0];
    let mut checkpoint = view.load_checkpoint(name).unwrap();
    assert_eq!(checkpoint.tensors["running"].as_f32().unwrap(), &found[2..]);
    checkpoint.tensors.remove("running");
    let job = Mean { spec: view.spec().unwrap() };
    let error = State::from_checkpoint(&job, "x", checkpoint).unwrap_err().to_string();
    assert_eq!(error, "the checkpoint x does not belong to this run: it has no tensor `running`");
}
