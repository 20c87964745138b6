//! A long search needs no more memory than a short one.

use std::sync::atomic::AtomicBool;

use rdarts_net::Engine;
use rdarts_run::{Event, RunDir, SearchSpec, Spec};
use rdarts_search::{Search, open_space};
use rdarts_train::{KnownSets, Observer, Progress, start};

const SMALL: &str = r#"
preset = "demo"
[data]
limit = 400
size = 14
[network]
channels = 2
cells = 3
[search]
epochs = 6
batch = 16
method = "darts"
[hessian]
every = 0
[eval]
oneshot = false
child = false
"#;

/// What lies idle on the shelf of an engine after each step.
struct Watch(Engine, Vec<usize>);

impl Observer for Watch {
    fn step(&mut self, _: &Progress) {
        self.1.push(self.0.kernels.workspace().idle());
    }
    fn phase(&mut self, _: &'static str) {}
    fn event(&mut self, _: &Event) {}
    fn news(&mut self, _: usize, _: &str) {}
}

#[test]
fn the_shelf_does_not_grow_from_step_to_step() {
    for order in ["first", "second", "second-fd"] {
        let spec =
            SearchSpec::resolve_text(None, Some(("test", SMALL)), &[format!("search.order={order}")], &KnownSets)
                .unwrap();
        let space = open_space(&spec.space.name).unwrap();
        let engine = Engine::cpu();
        let search = Search::new(spec, space, engine.clone()).unwrap();
        let tmp = tempfile::tempdir().unwrap();
        let mut watch = Watch(engine, Vec::new());
        let mut dir = RunDir::create(&tmp.path().join("run"), &search.spec).unwrap();
        start(&search, &mut dir, &mut watch, &AtomicBool::new(false)).unwrap();
        // Every epoch ends with a smaller batch, whose buffers take two epochs to find their places: compare the same
        // step of the fourth and the last epoch.
        let steps = watch.1.len() / 6;
        let (early, late) = (watch.1[3 * steps + 5], watch.1[5 * steps + 5]);
        assert!(steps >= 12 && early > 0);
        assert!(late <= early, "{order}: {early} idle values, {} steps later {late}", 2 * steps);
    }
}
