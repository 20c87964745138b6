//! A search that goes on from what another one has computed makes, byte for byte, what it would have made alone.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use rdarts_net::Engine;
use rdarts_run::{Event, RunDir, RunView, SearchSpec, Spec};
use rdarts_search::branch::common;
use rdarts_search::{Search, open_space};
use rdarts_train::{KnownSets, Outcome, resume, start};

/// The rule acts on any growth from one epoch to the next but one.
const SMALL: &str = r#"
preset = "demo"
[data]
limit = 96
valid_limit = 32
size = 16
[network]
channels = 2
cells = 3
[space]
name = "s3"
[search]
epochs = 8
batch = 16
[alphas]
lr = 0.2
[hessian]
batches = 2
[monitor]
window = 2
threshold = 0.97
[eval]
keep_checkpoints = true
"#;

fn search(method: &str, overrides: &[&str]) -> Search {
    let mut keys = vec![format!("search.method=\"{method}\"")];
    keys.extend(overrides.iter().map(|key| key.to_string()));
    let spec = SearchSpec::resolve_text(None, Some(("test", SMALL)), &keys, &KnownSets).unwrap();
    Search::new(spec, open_space("s3").unwrap(), Engine::cpu()).unwrap()
}

fn alone(search: &Search, path: &Path) {
    let mut dir = RunDir::create(path, &search.spec).unwrap();
    let outcome = start(search, &mut dir, &mut (), &AtomicBool::new(false)).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
}

fn events(path: &Path) -> String {
    std::fs::read_to_string(path.join("events.jsonl")).unwrap()
}

#[test]
fn what_is_taken_over_and_what_follows_are_those_of_a_search_of_its_own() {
    let tmp = tempfile::tempdir().unwrap();
    let darts = search("darts", &[]);
    let base = tmp.path().join("darts");
    alone(&darts, &base);
    let (mut acted, mut went_on) = (0, 0);
    let cases: [(&str, &[&str]); 9] = [
        ("darts-es", &[]),
        ("darts-ada", &[]),
        ("darts-es-noise", &["monitor.risk=0.5"]),
        ("darts-plus", &["method.max_skips=4"]),
        ("darts-plus", &["method.max_skips=9"]),
        ("darts-es", &["monitor.threshold=0.01", "eval.keep_checkpoints=false"]),
        // Measured again.
        ("darts-es-noise", &["monitor.risk=0.5", "hessian.batches=3", "hessian.images=\"last\""]),
        ("darts-es", &["hessian.batches=1", "hessian.every=2", "hessian.mode=\"plain\""]),
        ("darts", &["hessian.batches=3", "hessian.tolerance=0.1"]),
    ];
    for (i, (method, keys)) in cases.into_iter().enumerate() {
        let search = search(method, keys);
        let own = tmp.path().join(format!("own-{i}"));
        alone(&search, &own);
        let view = RunView::open(&base).unwrap();
        let taken = tmp.path().join(format!("taken-{i}"));
        let common = match common(&view, &darts, &search, &mut |_, _| {}) {
            Ok(common) => common,
            // It acts after the first epoch: then nothing is common.
            Err(e) => {
                assert!(e.to_string().contains("acts after epoch 0 already, whose normal cell has "), "{method}: {e}");
                assert!(
                    e.to_string().contains(" skip connections (method.max_skips is 4), so there is"),
                    "{method}: {e}"
                );
                assert_eq!(method, "darts-plus", "the rules of the eigenvalue need several epochs");
                continue;
            }
        };
        let mut dir = RunDir::create(&taken, &search.spec).unwrap();
        common.take_over(&view, &search, &mut dir).unwrap();
        drop(dir);
        let mut dir = RunDir::open::<SearchSpec>(&taken).unwrap();
        let outcome = resume(&search, &mut dir, &mut (), &AtomicBool::new(false), &mut |_| {}).unwrap();
        assert!(matches!(outcome, Outcome::Finished(_)), "{method}");
        assert_eq!(events(&taken), events(&own), "{method} {keys:?}");
        let decides = events(&own).contains("\"decision\"");
        assert_eq!(common.acts.is_some(), decides, "{method} {keys:?}");
        if let Some(acts) = common.acts {
            assert_eq!(common.last + 1, acts);
            acted += 1;
        } else {
            assert_eq!(common.last, 7);
            went_on += 1;
        }
    }
    assert!(acted >= 2 && went_on >= 1, "{acted} acted and {went_on} went on: the cases show too little");

    // Back from a search that was stopped: DARTS goes on where it ended.
    let stopped = tmp.path().join("own-0");
    let es = search("darts-es", &[]);
    let view = RunView::open(&stopped).unwrap();
    let common = common(&view, &es, &darts, &mut |_, _| {}).unwrap();
    let ends = view.events().unwrap().iter().filter(|event| matches!(event, Event::Epoch(_))).count();
    assert!(ends < 8 && common.last + 1 == ends && common.acts.is_none());
    let taken = tmp.path().join("back");
    let mut dir = RunDir::create(&taken, &darts.spec).unwrap();
    common.take_over(&view, &darts, &mut dir).unwrap();
    resume(&darts, &mut dir, &mut (), &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!(events(&taken), events(&base));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("run");
    let darts = search("darts", &["search.epochs=2"]);
    alone(&darts, &path);
    let view = RunView::open(&path).unwrap();
    let refused = |method: &str, keys: &[&str]| match common(&view, &darts, &search(method, keys), &mut |_, _| {}) {
        Err(e) => e.to_string(),
        Ok(_) => panic!("{method} {keys:?} was taken"),
    };
    assert!(refused("gdas", &["search.epochs=2"]).starts_with("a search with gdas takes steps of its own"));
    let other = refused("darts-es", &["search.epochs=2", "weights.l2=0.0027"]);
    assert!(other.contains("was searched with weights.l2 = 0.0003, not 0.0027: only search.method"), "{other}");
    let elsewhere = {
        let keys = ["search.method=\"darts-es\"".to_string(), "search.epochs=2".into()];
        let spec = SearchSpec::resolve_text(None, Some(("test", SMALL)), &keys, &KnownSets).unwrap();
        let search = Search::new(spec, open_space("s2").unwrap(), Engine::cpu()).unwrap();
        common(&view, &darts, &search, &mut |_, _| {}).err().unwrap().to_string()
    };
    assert!(elsewhere.contains("was searched in the space s3, not in s2"), "{elsewhere}");
    let longer = refused("darts-es", &["search.epochs=3"]);
    assert!(longer.contains("search.epochs = 2, not 3"), "{longer}");
}

#[test]
fn what_a_search_may_go_back_to_must_be_there() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("run");
    // The rule looks back further than the two checkpoints that plain DARTS keeps.
    let keys = ["eval.keep_checkpoints=false", "monitor.threshold=0.01"];
    let darts = search("darts", &keys);
    alone(&darts, &path);
    let view = RunView::open(&path).unwrap();
    let refused = common(&view, &darts, &search("darts-ada", &keys), &mut |_, _| {}).err().unwrap().to_string();
    assert!(refused.starts_with("darts-ada may go back to epoch "), "{refused}");
    assert!(refused.ends_with("with eval.keep_checkpoints=true a search keeps them all"), "{refused}");
    let anew = ["eval.keep_checkpoints=false", "hessian.batches=3"];
    let refused = common(&view, &darts, &search("darts-es", &anew), &mut |_, _| {}).err().unwrap().to_string();
    let why = "the curvature has to be measured again from the first epoch on, but ";
    assert!(refused.starts_with(why) && refused.contains(" has no checkpoint of epoch 0: with eval.keep"), "{refused}");
    // A damaged checkpoint that nothing needs is a warning.
    let whole = tmp.path().join("whole");
    let darts = search("darts", &["monitor.threshold=0.01"]);
    alone(&darts, &whole);
    let view = RunView::open(&whole).unwrap();
    let third = view.checkpoints().unwrap().into_iter().find(|name| name.epoch == 3).unwrap();
    std::fs::write(view.checkpoints_path().join(third.file_name()), "damaged").unwrap();
    let common = common(&view, &darts, &search("darts-es", &["monitor.threshold=0.01"]), &mut |_, _| {}).unwrap();
    assert_eq!((common.last, common.warnings.len()), (7, 1));
    // Where the curvature is measured again it ends what is taken over.
    let mut told = Vec::new();
    let keys = ["monitor.threshold=0.01", "hessian.batches=3"];
    let common =
        self::common(&view, &darts, &search("darts-es", &keys), &mut |done, of| told.push((done, of))).unwrap();
    assert_eq!((common.last, common.acts, told), (2, None, vec![(0, 8), (1, 8), (2, 8), (3, 8)]));
    assert!(common.warnings.len() == 2 && common.warnings[1].starts_with("epochs from 3 on"), "{:?}", common.warnings);
    // A checkpoint under the name of another is not taken for it.
    let of_epoch = |epoch: usize| {
        let names = view.checkpoints().unwrap().into_iter();
        view.checkpoints_path()
            .join(names.filter(|name| name.step.is_none()).find(|name| name.epoch == epoch).unwrap().file_name())
    };
    std::fs::copy(of_epoch(4), of_epoch(1)).unwrap();
    let common = self::common(&view, &darts, &search("darts-es", &keys), &mut |_, _| {}).unwrap();
    assert!(common.last == 0 && common.warnings[0].ends_with("of its epoch"), "{:?}", common.warnings);
    let first = view.checkpoints().unwrap().into_iter().find(|name| name.epoch == 0 && name.step.is_none()).unwrap();
    std::fs::write(view.checkpoints_path().join(first.file_name()), "damaged").unwrap();
    let refused = self::common(&view, &darts, &search("darts-es", &keys), &mut |_, _| {}).err().unwrap().to_string();
    assert!(refused.starts_with(why) && refused.contains(&first.file_name()), "{refused}");
}
