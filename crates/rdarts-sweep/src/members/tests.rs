use super::*;

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

fn plan(text: &str) -> Result<Plan, SweepError> {
    let open = |spec: &Path| Ok((spec.display().to_string(), "preset = \"demo\"\nsearch.epochs = 7\n".to_string()));
    Plan::parse("p.toml", text.to_string(), &open)
}

fn names(text: &str) -> Vec<String> {
    members(&plan(text).unwrap(), &Sets).unwrap().into_iter().map(|member| member.name).collect()
}

fn refusal(text: &str) -> String {
    match plan(text).and_then(|plan| members(&plan, &Sets).map(drop)) {
        Ok(()) => panic!("nothing is refused of\n{text}"),
        Err(e) => {
            let e = e.to_string();
            assert!(!e.contains('\n'), "{e}");
            e
        }
    }
}

#[test]
fn a_grid_is_every_combination_and_the_first_seed_of_all_comes_first() {
    let text = "kind = \"search\"\nseeds = 2\n[grid]\nsearch.method = [\"darts\", \"darts-es\"]\nweights.l2 = [0.0003, 0.0027]\n";
    assert_eq!(
        names(text),
        [
            "darts_l2=0.0003_seed=1",
            "darts_l2=0.0027_seed=1",
            "darts-es_l2=0.0003_seed=1",
            "darts-es_l2=0.0027_seed=1",
            "darts_l2=0.0003_seed=2",
            "darts_l2=0.0027_seed=2",
            "darts-es_l2=0.0003_seed=2",
            "darts-es_l2=0.0027_seed=2",
        ]
    );
    let all = members(&plan(text).unwrap(), &Sets).unwrap();
    assert_eq!(all.iter().map(|member| member.number).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    let spec = SearchSpec::from_complete("x", &all[6].spec).unwrap();
    assert_eq!((spec.seed, spec.weights.l2, spec.search.method.to_string()), (2, 0.0003, "darts-es".to_string()));
}

#[test]
fn lists_go_together_and_may_name_their_rows() {
    let text = "kind = \"search\"\nseeds = [5, 9]\n[list]\nnetwork.channels = [4, 8]\nnetwork.cells = [3, 5]\n";
    assert_eq!(
        names(text),
        [
            "channels=4_cells=3_seed=5",
            "channels=8_cells=5_seed=5",
            "channels=4_cells=3_seed=9",
            "channels=8_cells=5_seed=9"
        ]
    );
    let named = text.replace("[list]", "[list]\nname = [\"small\", \"large\"]");
    assert_eq!(names(&named), ["small_seed=5", "large_seed=5", "small_seed=9", "large_seed=9"]);
}

#[test]
fn names_are_right_as_files_and_unique() {
    let spaces =
        "kind = \"search\"\n[grid]\n\"space.name\" = [\"/data/my spaces/a b.toml\", \"/other/a-b.toml\", \"s2\"]\n";
    assert_eq!(names(spaces), ["a-b-1", "a-b-2", "s2"]);
    assert_eq!(names("kind = \"search\"\n"), ["search"]);
    assert_eq!(names("kind = \"table\"\nworkers = 3\nseeds = [1, 2]\n"), ["table_1", "table_2", "table_3"]);
    let twice = "kind = \"robust\"\n[grid]\nsearch.epochs = [1]\ntrain.epochs = [2]\n";
    assert_eq!(names(twice), ["search.epochs=1_train.epochs=2"]);
}

#[test]
fn a_spec_file_lies_below_what_the_plan_says() {
    let all =
        members(&plan("kind = \"search\"\nspec = \"base.toml\"\nseeds = 1\n[set]\ndata.limit = 96\n").unwrap(), &Sets);
    let spec = SearchSpec::from_complete("x", &all.unwrap()[0].spec).unwrap();
    assert_eq!((spec.search.epochs, spec.data.images.limit, spec.preset.as_str()), (7, 96, "demo"));
}

#[test]
fn command_lines_begin_and_go_on() {
    let plan = plan("kind = \"search\"\nseeds = 1\n[set]\nspace.name = \"it's \\\"s2\\\"\"\n").unwrap();
    let member = &members(&plan, &Sets).unwrap()[0];
    let hands = Hands { threads: Some(2), device: Some("gpu:1".into()) };
    let line = |args: Vec<OsString>| args.iter().map(|arg| arg.to_str().unwrap().to_string()).collect::<Vec<_>>();
    assert_eq!(
        line(begin(&plan, member, Path::new("a b"), Path::new("base.toml"), &hands)),
        [
            "search",
            "--set=space.name=\"it's \\\"s2\\\"\"",
            "--set=seed=1",
            "--out",
            "a b",
            "--threads=2",
            "--device=gpu:1"
        ]
    );
    assert_eq!(
        line(go_on(&plan, member, Path::new("a b"), Path::new("base.toml"), &hands)),
        ["resume", "a b", "--threads=2", "--device=gpu:1"]
    );
}

#[test]
fn a_plan_that_is_not_right_is_refused_in_one_sentence_with_its_line() {
    let rows: [(&str, &str); 29] = [
        ("", "p.toml: the key `kind` is missing: search, train, robust, table, disparity-search, disparity-training"),
        (
            "kind = \"serach\"",
            "line 1: `kind` is `serach`, but must be one of search, train, robust, table, disparity-search, disparity-training, disparity-robust, the nearest known one is `search`",
        ),
        ("kind = \"search\"\nseds = 3", "line 2: unknown key `seds`; did you mean `seeds`?"),
        (
            "kind = \"search\"\n\nsearch.epochs = 3",
            "line 3: unknown key `search`; keys of specs stand in [set], [grid] or [list]",
        ),
        ("kind = \"search\"\nseeds = ", "line 2: not valid TOML"),
        ("kind = \"search\"\nseeds = 0", "line 2: `seeds` must be a number of seeds"),
        ("kind = \"search\"\nseeds = [1, 2, 1]", "line 2: `seeds` names 1 twice"),
        (
            "kind = \"search\"\n[set]\nsearch.epocs = 3",
            "p.toml, line 3: unknown key `search.epocs`; did you mean `search.epochs`?",
        ),
        ("kind = \"search\"\n[grid]\nsearch.epochs = [3, 0]", "p.toml, line 3: `search.epochs` is 0, but must be"),
        (
            "kind = \"search\"\n[grid]\nsearch.epochs = [3, \"x\"]",
            "p.toml, line 3: `search.epochs` is \"x\", but must be a whole number",
        ),
        (
            "kind = \"search\"\n[grid]\nsearch.epochs = 3",
            "line 3: `search.epochs` must be a list in [grid], such as [1, 2]",
        ),
        ("kind = \"search\"\n[grid]\nsearch.epochs = []", "line 3: the list of `search.epochs` is empty"),
        ("kind = \"search\"\n[grid]\nsearch.epochs = [3, 4, 3]", "line 3: the list of `search.epochs` has `3` twice"),
        (
            "kind = \"search\"\n[grid]\nweights.l2 = [0.1]\n[set]\nweights.l2 = 0.2",
            "line 5: `weights.l2` has its values in line 3 already",
        ),
        ("kind = \"search\"\nseeds = 2\n[grid]\nseed = [1]", "line 4: `seed` has its values in line 2 already"),
        (
            "kind = \"search\"\n[list]\nnetwork.cells = [3, 5]\nnetwork.channels = [4]",
            "line 4: the list of `network.channels` has 1 values and that of `network.cells` 2",
        ),
        ("kind = \"search\"\n[list]\nname = [\"a/b\"]\nseed = [1]", "line 3: names of rows are texts of letters"),
        (
            "kind = \"search\"\n[list]\nname = [\"A\", \"a\"]\nseed = [1, 2]",
            "p.toml: the members 1 and 2 would both be called",
        ),
        (
            "kind = \"search\"\nseeds = 1001",
            "p.toml: the plan has 1001 members, and the most is 1000: `max_members` raises that",
        ),
        ("kind = \"search\"\nseeds = 1000000\n[grid]\nsearch.epochs = [1, 2]\n", "the plan has 2000000 members"),
        (
            "kind = \"search\"\nworkers = 2",
            "line 2: `workers` belongs to plans of kind table, and this one is of kind search",
        ),
        ("kind = \"table\"\n[set]\nseed = 1", "line 3: `seed` cannot be set: the seeds of a table are the key `seeds`"),
        ("kind = \"train\"", "a plan of trainings needs `network.genotype`"),
        ("kind = \"search\"\npreset = \"dmo\"", "p.toml, line 2: `preset` is \"dmo\", but must be"),
        ("kind = \"search\"\n[slurm]\ntime = \"1h\"", "line 3: `slurm.time` must be a time limit of Slurm"),
        ("kind = \"search\"\n[slurm]\ntime = \"2\"", "line 3: `slurm.time` must be 3 minutes or more"),
        (
            "kind = \"search\"\n[slurm]\ntime = \"5\"\nsave_before = 181",
            "line 4: `slurm.save_before` is 181 s, but with this time limit must be 180 s or less",
        ),
        (
            "kind = \"search\"\n[slurm]\npartiton = \"a\"",
            "line 3: unknown key `slurm.partiton`; did you mean `slurm.partition`?",
        ),
        (
            "kind = \"search\"\n[slurm]\noptions = [\"--array=1\"]",
            "line 3: `slurm.options` has --array, which the sweep sets itself",
        ),
    ];
    for (text, expected) in rows {
        let refused = refusal(text);
        assert!(refused.contains(expected), "of\n{text}\n{refused}\nis not\n{expected}");
    }
}

#[test]
fn members_that_are_the_same_run_are_refused() {
    // An empty directory is the preset's.
    let text =
        "kind = \"search\"\n[list]\nname = [\"a\", \"b\"]\npreset = [\"demo\", \"demo\"]\nsearch.epochs = [3, 3]";
    assert!(refusal(text).contains("rows 1 and 2 of [list] are the same"), "{}", refusal(text));
    let text = "kind = \"search\"\n[grid]\nweights.l2 = [1, 1.0]";
    assert!(refusal(text).contains("are the same run"), "{}", refusal(text));
}

#[test]
fn the_trainings_of_the_papers_table_2_are_those_of_its_searches() {
    let plan = |name: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments").join(name);
        Plan::read(&file).unwrap()
    };
    let searches = plan("disparity-l2-augment.toml");
    let trainings = plan("disparity-l2-augment-train.toml");
    let found = members(&searches, &Sets).unwrap();
    assert_eq!(found.len(), 9);
    for (search, training) in found.iter().zip(members(&trainings, &Sets).unwrap()) {
        assert_eq!(search.name, training.name);
        let [searched, trained] = [
            DisparitySearchSpec::from_complete("x", &search.spec).unwrap().augment,
            DisparityTrainSpec::from_complete("x", &training.spec).unwrap().augment,
        ];
        assert_eq!(searched, trained, "{}", search.name);
        let network = format!("runs/disparity-l2-augment/members/{}", search.name);
        let of = |key: &str| training.settings.iter().find(|setting| setting.key == key).map(|s| s.value.clone());
        assert_eq!(of("network.genotype"), Some(Value::String(network.clone())));
        // What begins each of them.
        let [path, base] = [Path::new("out"), Path::new("")];
        let begins = |plan: &Plan, member: &Member| -> Vec<String> {
            let args = begin(plan, member, path, base, &Hands::default());
            args.into_iter().map(|arg| arg.into_string().unwrap()).collect()
        };
        assert_eq!(begins(&searches, search)[..2], ["search", "--task=disparity"]);
        assert_eq!(begins(&trainings, &training)[..3], ["train".to_string(), network, "--task=disparity".to_string()]);
    }
}
