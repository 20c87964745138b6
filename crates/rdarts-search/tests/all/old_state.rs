//! What an earlier program has written is gone on with: checkpoints with other names of their sums, specs without a kind.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_net::Engine;
use rdarts_run::{Checkpoint, Event, RunDir, RunView, SearchSpec, Spec};
use rdarts_search::{Search, State, open_space};
use rdarts_train::{KnownSets, Observer, Progress, resume, start};
use serde_json::Value;

const SMALL: &str = "preset = 'demo'\n[data]\nlimit = 96\nvalid_limit = 32\n[network]\nchannels = 2\ncells = 3\n[search]\n\
                     epochs = 3\nbatch = 16\nmethod = 'darts'\n[hessian]\nbatches = 1\nimages = 'last'\n";

struct StopAfter<'a>(usize, &'a AtomicBool);

impl Observer for StopAfter<'_> {
    fn step(&mut self, _: &Progress) {
        self.0 = self.0.saturating_sub(1);
        self.1.store(self.0 == 0, Ordering::Relaxed);
    }
    fn phase(&mut self, _: &'static str) {}
    fn event(&mut self, _: &Event) {}
    fn news(&mut self, _: usize, _: &str) {}
}

fn search() -> Search {
    let spec = SearchSpec::resolve_text(None, Some(("test", SMALL)), &[], &KnownSets).unwrap();
    Search::new(spec, open_space("s2").unwrap(), Engine::cpu()).unwrap()
}

/// Runs from the beginning until so many steps are made.
fn begin(search: &Search, path: &Path, steps: usize) {
    let stop = AtomicBool::new(false);
    let mut dir = RunDir::create(path, &search.spec).unwrap();
    start(search, &mut dir, &mut StopAfter(steps, &stop), &stop).unwrap();
}

/// The newest checkpoint, changed.
fn change(path: &Path, change: impl FnOnce(&mut Checkpoint)) {
    let view = RunView::open(path).unwrap();
    let name = &view.checkpoints().unwrap()[0];
    let mut checkpoint = view.load_checkpoint(name).unwrap();
    change(&mut checkpoint);
    checkpoint.save(&view.checkpoints_path().join(name.file_name())).unwrap();
}

#[test]
fn a_search_of_an_earlier_program_goes_on_to_the_same_bits() {
    let search = search();
    let tmp = tempfile::tempdir().unwrap();
    let (whole, old) = (tmp.path().join("whole"), tmp.path().join("old"));
    begin(&search, &whole, usize::MAX);
    begin(&search, &old, 4);
    // Back to what was written then.
    change(&old, |checkpoint| {
        let at = checkpoint.state["at"].as_object_mut().unwrap();
        let loss = at.remove("side_loss").unwrap();
        assert!(loss.as_f64().unwrap() > 0.0);
        at.insert("alpha_loss".into(), loss);
        let correct = at["train_correct"].as_f64().unwrap() as u64;
        at.insert("train_correct".into(), correct.into());
        let spec = checkpoint.state["spec"].as_str().unwrap().replace("kind = \"search\"\n", "");
        checkpoint.state["spec"] = spec.into();
    });
    let spec = old.join("spec.toml");
    let text = std::fs::read_to_string(&spec).unwrap().replace("kind = \"search\"\n", "");
    std::fs::write(&spec, text).unwrap();
    std::fs::write(old.join("format"), "rdarts-run 1\n").unwrap();

    let stop = AtomicBool::new(false);
    let mut dir = RunDir::open::<SearchSpec>(&old).unwrap();
    resume(&search, &mut dir, &mut StopAfter(usize::MAX, &stop), &stop, &mut |_| ()).unwrap();
    let events = |path: &Path| std::fs::read(path.join("events.jsonl")).unwrap();
    assert!(events(&old) == events(&whole));
}

#[test]
fn a_state_with_a_key_too_many_or_too_few_is_refused_by_name() {
    let search = search();
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("run");
    begin(&search, &path, 2);
    let refused = |change: &dyn Fn(&mut Value)| {
        let view = RunView::open(&path).unwrap();
        let mut checkpoint = view.load_checkpoint(&view.checkpoints().unwrap()[0]).unwrap();
        change(&mut checkpoint.state);
        let error = State::from_checkpoint(&search, "x", checkpoint).unwrap_err().to_string();
        error.strip_prefix("the checkpoint x does not belong to this run: ").unwrap().to_string()
    };
    let more = refused(&|state| state["more"] = 1.into());
    assert_eq!(more, "its state has the key `more`, which this program does not know");
    let fewer = refused(&|state| drop(state.as_object_mut().unwrap().remove("adam_t")));
    assert_eq!(fewer, "its state has no whole number `adam_t`");
    let other = refused(&|state| state["at"]["more"] = 1.into());
    assert!(other.starts_with("its state is that of another kind of run"), "{other}");
}
