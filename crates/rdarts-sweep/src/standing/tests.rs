use std::path::PathBuf;

use rdarts_run::{DataSets, RunDir, SearchSpec, Spec};

use super::*;
use crate::members;

struct Sets;

impl DataSets for Sets {
    fn preset(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn side(&self, _: &str) -> Option<usize> {
        Some(28)
    }

    fn has_free_channels(&self, _: &str) -> bool {
        false
    }
}

fn sweep(text: &str, path: PathBuf) -> (Plan, Vec<Member>, Folder) {
    let plan = Plan::parse("p.toml", text.to_string(), &|_| unreachable!("no spec file")).unwrap();
    let all = members(&plan, &Sets).unwrap();
    (plan, all, Folder { path })
}

const PLAN: &str = "kind = \"search\"\nseeds = 2\n[set]\nsearch.epochs = 4\n";

#[test]
fn what_became_of_a_member_is_in_its_directory_and_at_the_end_of_its_log() {
    let tmp = tempfile::tempdir().unwrap();
    let (plan, all, folder) = sweep(PLAN, tmp.path().join("my sweep"));
    let member = &all[0];
    let state = || Standing::of(&folder, &plan, member).state;
    assert_eq!(state(), State::Waiting);
    folder.begin(&plan).unwrap();
    assert_eq!(state(), State::Waiting);
    let log = folder.log_path(member);
    std::fs::write(&log, "$ rdarts search\nerror: the disk is full\n").unwrap();
    assert_eq!(state(), State::Failed("the disk is full".into()));
    std::fs::write(&log, "$ rdarts search\nerror: the disk is full\n$ rdarts search\nepoch 1\n").unwrap();
    assert_eq!(state(), State::Waiting);
    let path = folder.run_path(&plan, member);
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("cat.png"), "a picture").unwrap();
    assert!(matches!(state(), State::Failed(why) if why.contains("holds `cat.png`")));
    std::fs::remove_file(path.join("cat.png")).unwrap();
    let spec = SearchSpec::from_complete("x", &member.spec).unwrap();
    let mut run = RunDir::create(&path, &spec).unwrap();
    assert_eq!(state(), State::AtWork);
    drop(run);
    assert_eq!(Standing::of(&folder, &plan, member), Standing { state: State::ToBeResumed, done: 0, of: Some(4) });
    run = RunDir::open::<SearchSpec>(&path).unwrap();
    run.mark_done("the end").unwrap();
    // What was said before it finished does not count any more.
    std::fs::write(&log, "error: the disk is full\n").unwrap();
    assert_eq!(state(), State::Done);
}

#[test]
fn a_changed_plan_is_refused_with_its_difference_and_a_longer_one_is_told() {
    let tmp = tempfile::tempdir().unwrap();
    let (plan, all, folder) = sweep(PLAN, tmp.path().join("sweep"));
    assert_eq!(folder.check(&plan, &all, &Sets).unwrap(), None);
    folder.begin(&plan).unwrap();
    assert_eq!(folder.check(&plan, &all, &Sets).unwrap(), None);
    let check = |text: &str| {
        let (plan, all, _) = sweep(text, PathBuf::new());
        folder.check(&plan, &all, &Sets)
    };
    let refused = |text: &str| check(text).unwrap_err().to_string();
    assert!(check(&PLAN.replace("seeds = 2", "seeds = 3")).unwrap().unwrap().contains("1 more members"));
    assert!(check(&format!("{PLAN}[slurm]\ntime = \"5\"\n")).unwrap().unwrap().contains("none of its members"));
    let e = refused(&PLAN.replace("epochs = 4", "epochs = 5"));
    assert!(e.contains("where search.epochs is 4 and not 5 in member `seed=1`"), "{e}");
    let e = refused(&PLAN.replace("seeds = 2", "seeds = [7, 1]"));
    assert!(e.contains("whose member 1 is `seed=1` and not `seed=7`"), "{e}");
    let e = refused(&PLAN.replace("seeds = 2", "seeds = 1"));
    assert!(e.contains("which has 2 members and not 1"), "{e}");
    let e = refused("kind = \"robust\"\n");
    assert!(e.contains("of kind search and not robust"), "{e}");
}

#[test]
fn a_directory_that_holds_something_else_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    std::fs::write(tmp.path().join("thesis.tex"), "").unwrap();
    let (plan, all, folder) = sweep(PLAN, tmp.path().to_path_buf());
    let e = folder.check(&plan, &all, &Sets).unwrap_err().to_string();
    assert!(e.contains("holds `thesis.tex` and is no sweep: name a new directory with --out"), "{e}");
    let folder = Folder { path: tmp.path().join("thesis.tex") };
    let e = folder.check(&plan, &all, &Sets).unwrap_err().to_string();
    assert!(e.contains("is a file"), "{e}");
}
