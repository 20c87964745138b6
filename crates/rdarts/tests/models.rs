//! Trained networks in use: `predict`, `test`, `export` and `import` as their user meets them, with models that a training
//! of a few steps leaves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

use rdarts::data::{Dataset, eval_batches};
use rdarts::export::{Tensor, run_onnx};
use rdarts::net::Engine;
use rdarts::run::{Event, RunDir, Spec, TrainSpec};
use rdarts::space::{Space, derive};
use rdarts::train::tensors::read_tensors;
use rdarts::train::training::Trained;
use rdarts::train::{KnownSets, Model, Observer, Outcome, Progress, Training, start};
use serde_json::Value;

mod common;

use common::{run, text};

const GENOTYPE: &str = "network.genotype=\"Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('dil_conv_3x3', 2), \
                        ('max_pool_3x3', 0)], normal_concat=[2, 3], reduce=[('avg_pool_3x3', 0), ('skip_connect', 1)], \
                        reduce_concat=[2])\"";

/// One who watches nothing.
struct Blind;

impl Observer for Blind {
    fn step(&mut self, _: &Progress) {}
    fn phase(&mut self, _: &'static str) {}
    fn event(&mut self, _: &Event) {}
    fn news(&mut self, _: usize, _: &str) {}
}

/// A training of one short epoch in the run directory `path`.
fn train(path: &Path, more: &[String]) -> (Training, Trained) {
    let small = [GENOTYPE, "network.channels=2", "network.cells=3", "train.epochs=1", "data.valid_fraction=0.0"];
    let mut overrides: Vec<String> = small.map(str::to_owned).to_vec();
    overrides.extend_from_slice(more);
    let spec = TrainSpec::resolve(Some("train-demo"), None, &overrides, &KnownSets).unwrap();
    let training = Training::new(spec, Engine::cpu()).unwrap();
    let mut dir = RunDir::create(path, &training.spec).unwrap();
    match start(&training, &mut dir, &mut Blind, &AtomicBool::new(false)).unwrap() {
        Outcome::Finished(trained) => (training, trained),
        Outcome::Interrupted { .. } => panic!("nobody stopped it"),
    }
}

fn train_mini(dir: &Path) -> (Training, Trained) {
    train(&dir.join("run"), &["data.limit=256".to_owned()])
}

/// Colour pictures of three classes below `dir`, of several sizes and formats.
fn pictures(dir: &Path) {
    for (k, class) in ["cat", "cow", "dog"].into_iter().enumerate() {
        std::fs::create_dir_all(dir.join(class)).unwrap();
        for i in 0..12u32 {
            let (width, height) = (40 + i, 40 + 3 * (i % 4));
            let value = |x: u32, y: u32| {
                let wave = |a: u32| ((a * (k as u32 + 1) + i) % 11 * 23) as u8;
                image::Rgb([wave(x), wave(y), wave(x + y)])
            };
            let ending = ["png", "jpg", "webp"][i as usize % 3];
            let path = dir.join(class).join(format!("{i:02}.{ending}"));
            image::RgbImage::from_fn(width, height, value).save(path).unwrap();
        }
    }
}

fn train_pictures(dir: &Path) -> (Training, Trained) {
    pictures(&dir.join("pets"));
    let folder = format!("data.dir=\"{}\"", dir.join("pets").display());
    let more = ["data.name=folder", &folder, "data.size=16", "data.channels=3", "train.batch=8", "augment.flip=false"];
    train(&dir.join("run"), &more.map(str::to_owned))
}

fn json(out: &Output) -> Value {
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", text(&out.stdout), text(&out.stderr)))
}

/// Runs the program, which succeeds.
#[track_caller]
fn succeeds(dir: &Path, args: &[&str]) -> Output {
    let out = run(dir, args);
    assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
    out
}

/// This exit code, and one sentence with all the given words.
#[track_caller]
fn refuses(dir: &Path, args: &[&str], code: i32, words: &[&str]) {
    let out = run(dir, args);
    let message = text(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {message}");
    assert!(out.stdout.is_empty(), "{args:?}: {}", text(&out.stdout));
    let errors: Vec<&str> = message.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{args:?}: {message}");
    for word in words {
        assert!(errors[0].contains(word), "{args:?}: `{word}` is not in: {message}");
    }
}

/// A number of JSON as it is written, since the reader of JSON may change its last bit.
fn number(json: &str, key: &str) -> f64 {
    let at = json.find(&format!("\"{key}\": ")).unwrap_or_else(|| panic!("no {key} in {json}")) + key.len() + 4;
    json[at..].split([',', '\n']).next().unwrap().parse().unwrap()
}

fn logits(picture: &Value) -> Vec<f32> {
    picture["logits"].as_array().unwrap().iter().map(|z| z.as_f64().unwrap() as f32).collect()
}

/// What a model makes of the first images of a part, in batches of so many.
fn outputs(model: &Model, data: &Dataset, n: usize, batch: usize) -> Vec<Vec<f32>> {
    let (engine, norm) = (Engine::cpu(), data.norm());
    let evaluator = model.evaluator(&engine);
    let batches = eval_batches(&data.test, 0..n, batch, &norm).map(Result::unwrap);
    let rows = batches.flat_map(|b| evaluator.outputs(&b.images, b.n, [b.height, b.width]));
    let all: Vec<f32> = rows.map(|z| z as f32).collect();
    all.chunks(data.classes.len()).map(<[f32]>::to_vec).collect()
}

/// All files below a directory, with what is in them.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => _ = found.insert(path.clone(), std::fs::read(&path).unwrap()),
        }
    }
    found
}

#[test]
fn a_model_loaded_later_gives_the_accuracy_and_the_logits_of_the_training_to_the_bit() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let (training, trained) = train_mini(dir);
    for args in [&["test", "run", "--json"][..], &["test", "run", "--json", "--threads", "1"]] {
        let shown = text(&succeeds(dir, args).stdout);
        assert_eq!(number(&shown, "accuracy"), trained.finished.test_accuracy);
        assert_eq!(number(&shown, "loss"), trained.finished.test_loss);
        let found: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(found["n"], 1000);
        assert_eq!(found["confusion"], serde_json::to_value(&trained.finished.confusion).unwrap());
    }
    let shown = text(&succeeds(dir, &["test", "run"]).stdout);
    for words in ["as reported at the end of the training", "top-5", "were taken for the class", "T-shirt/top"] {
        assert!(shown.contains(words), "`{words}` is not in:\n{shown}");
    }
    // The file alone, which knows the name of its data set; and another set with the same classes would do.
    std::fs::copy(dir.join("run/model.safetensors"), dir.join("m.safetensors")).unwrap();
    let shown = text(&succeeds(dir, &["test", "m.safetensors", "--json"]).stdout);
    assert_eq!(number(&shown, "accuracy"), trained.finished.test_accuracy);

    let data = &training.images.data;
    let (n, side) = (70, data.test.height as u32);
    std::fs::create_dir(dir.join("images")).unwrap();
    for i in 0..n {
        let pixels = data.test.image(i).unwrap().into_owned();
        let path = dir.join(format!("images/{i:03}.png"));
        image::GrayImage::from_raw(side, side, pixels).unwrap().save(path).unwrap();
    }
    let found = json(&succeeds(dir, &["predict", "run", "images", "--json"]));
    let shown: Vec<Vec<f32>> = found["pictures"].as_array().unwrap().iter().map(logits).collect();
    // Whatever the batch they are computed in.
    for batch in [64, 7, 1] {
        assert!(outputs(&trained.model, data, n, batch) == shown, "in batches of {batch}");
    }
    let likeliest = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    for (picture, row) in found["pictures"].as_array().unwrap().iter().zip(&shown) {
        assert_eq!(picture["classes"][0]["class"], data.classes[likeliest(row)].as_str());
    }
}

#[test]
fn a_picture_of_the_training_gives_what_the_training_saw() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let (training, trained) = train_pictures(dir);
    let found = json(&succeeds(dir, &["predict", "run", "pets", "--json"]));
    let of_pictures: Vec<Vec<f32>> = found["pictures"].as_array().unwrap().iter().map(logits).collect();
    assert_eq!(of_pictures.len(), 36);
    let data = &training.images.data;
    let of_data = outputs(&trained.model, data, data.test.n, 8);
    assert_eq!(of_data.len(), 6);
    for row in of_data {
        assert!(of_pictures.contains(&row), "{row:?} is of no picture");
    }
    // In the order of their paths, in each form.
    let paths: Vec<&str> =
        found["pictures"].as_array().unwrap().iter().map(|picture| picture["picture"].as_str().unwrap()).collect();
    assert!(paths.is_sorted() && paths[0] == "pets/cat/00.png", "{paths:?}");
    let csv = text(&succeeds(dir, &["predict", "run", "pets", "--csv", "--top", "2"]).stdout);
    assert_eq!(csv.lines().count(), 1 + 2 * 36);
    assert!(csv.starts_with("picture,rank,class,probability\npets/cat/00.png,1,"), "{csv}");
    let table = text(&succeeds(dir, &["predict", "run", "pets", "--top", "99"]).stdout);
    assert!(table.lines().next().unwrap().contains("3rd class") && !table.contains("4th class"), "{table}");

    let shown = text(&succeeds(dir, &["test", "run", "--json"]).stdout);
    assert_eq!(number(&shown, "accuracy"), trained.finished.test_accuracy);
    let shown = text(&succeeds(dir, &["test", "run/model.safetensors", "--data", "pets", "--json"]).stdout);
    assert_eq!(number(&shown, "accuracy"), trained.finished.test_accuracy);
    assert_eq!(json(&succeeds(dir, &["test", "run", "--part", "all", "--json"]))["n"], 36);
    assert_eq!(json(&succeeds(dir, &["test", "run", "--data", "pets", "--part", "train", "--json"]))["n"], 30);
}

#[test]
fn pictures_that_are_none_are_told_and_the_others_are_predicted() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    train_pictures(dir);
    std::fs::create_dir(dir.join("new")).unwrap();
    std::fs::copy(dir.join("pets/cow/01.jpg"), dir.join("new/a.jpg")).unwrap();
    std::fs::write(dir.join("new/b.png"), "no picture").unwrap();
    let whole = std::fs::read(dir.join("pets/cow/00.png")).unwrap();
    std::fs::write(dir.join("new/c.png"), &whole[..whole.len() / 2]).unwrap();
    image::RgbImage::new(5, 6).save(dir.join("new/d.png")).unwrap();
    image::RgbImage::new(400, 20).save(dir.join("new/e.png")).unwrap();
    let out = run(dir, &["predict", "run", "new", "absent.png", "--json"]);
    assert_eq!(out.status.code(), Some(2));
    let (found, told) = (json(&out), text(&out.stderr));
    let names = |key: &str| -> Vec<String> {
        found[key].as_array().unwrap().iter().map(|entry| entry["picture"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("pictures"), ["new/a.jpg", "new/d.png", "new/e.png"]);
    assert_eq!(names("failed"), ["new/b.png", "new/c.png", "absent.png"]);
    for words in [
        "new/b.png is not a PNG, JPEG or WebP image, it is",
        "new/c.png cannot be read as a picture: it ends before the picture does",
        "cannot read absent.png",
        "note: new/d.png does not fit: it has 5x6 pixels, and the model was trained on images of 16x16",
        "note: new/e.png does not fit: of its 400x20 pixels only the square in the middle is seen, 5 % of it",
        "error: 3 of 6 pictures were not predicted",
    ] {
        assert!(told.contains(words), "`{words}` is not in:\n{told}");
    }
    std::fs::create_dir(dir.join("empty")).unwrap();
    refuses(dir, &["predict", "run", "empty"], 2, &["there is no picture in empty"]);
    refuses(dir, &["predict", "run", "nowhere/"], 2, &["1 of 1 picture was not predicted"]);
    refuses(dir, &["predict", "nowhere", "new"], 2, &["there is no model file nowhere"]);
    refuses(dir, &["predict", "pets", "new"], 2, &["pets"]);
}

#[test]
fn data_with_other_classes_or_images_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    train_pictures(dir);
    let refused = |data: &str, words: &[&str]| refuses(dir, &["test", "run", "--data", data], 2, words);
    refused("fashion-mini", &["the model reads images of 16x16x3, but those of fashion-mini are 28x28x1"]);
    refused("fashion-mnst", &["fashion-mini, fashion-mnist"]);
    refused("nowhere/", &["nowhere"]);
    // Two more, one less, one of another name; and the same in another order.
    let set = |name: &str, classes: &[(&str, &str)]| {
        for (from, to) in classes {
            let to = dir.join(name).join(to);
            std::fs::create_dir_all(&to).unwrap();
            for file in std::fs::read_dir(dir.join("pets").join(from)).unwrap().map(|e| e.unwrap().path()) {
                std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
            }
        }
    };
    set("more", &[("cat", "cat"), ("cow", "cow"), ("dog", "dog"), ("dog", "eel")]);
    refused("more", &["more and the model have other classes (4 and 3 classes): the model does not know 'eel'"]);
    set("less", &[("cat", "cat"), ("cow", "cow")]);
    refused("less", &["less and the model have other classes (2 and 3 classes): it lacks 'dog'"]);
    set("other", &[("cat", "Cat"), ("cow", "cow"), ("dog", "dog")]);
    refused("other", &["it lacks 'cat', and the model does not know 'Cat'"]);
    std::fs::copy(dir.join("run/model.safetensors"), dir.join("m.safetensors")).unwrap();
    refuses(dir, &["test", "m.safetensors"], 2, &["--data NAME or --data DIR"]);
    refuses(dir, &["test", "run", "--part", "tests"], 2, &["--part is `tests`, but must be test, train or all"]);
}

#[test]
fn every_export_gives_the_logits_of_the_model() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let (training, trained) = train_pictures(dir);
    let (model, data) = (&trained.model, &training.images.data);
    let wanted = outputs(model, data, 3, 3).concat();
    let scale = wanted.iter().fold(1.0f32, |m, z| m.max(z.abs()));
    for (out, flags) in [("run.onnx", &[][..]), ("pixels.onnx", &["--pixels", "--out", "pixels.onnx"])] {
        let shown = text(&succeeds(dir, &[&["export", "run", "--to", "onnx"], flags].concat()).stdout);
        assert!(shown.contains(out) && shown.contains("Read back") && shown.contains("(batch, 3, 16, 16)"), "{shown}");
        let mut images = vec![0.0; 3 * 3 * 16 * 16];
        for i in 0..3 {
            for (at, byte) in data.test.image(i).unwrap().iter().enumerate() {
                let (pixel, c) = (at / 3, at % 3);
                let value = f32::from(*byte) / 255.0;
                let value = if flags.is_empty() { (value - data.mean[c]) / data.std[c] } else { value };
                images[(3 * i + c) * 256 + pixel] = value;
            }
        }
        let found = run_onnx(&std::fs::read(dir.join(out)).unwrap(), &images, [3, 3, 16, 16], 2).unwrap();
        assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-4 * scale), "{found:?} {wanted:?}");
    }
    succeeds(dir, &["export", "run", "--to", "pytorch"]);
    succeeds(dir, &["export", "run", "--to", "safetensors"]);
    let files: Vec<_> = std::fs::read_dir(dir.join("run-pytorch")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(
        text(&std::fs::read(dir.join("run-pytorch/model.py")).unwrap())
            .contains("CLASSES = [\"cat\", \"cow\", \"dog\"]")
    );
    for file in ["run-pytorch/weights.safetensors", "run-pytorch.safetensors"] {
        let bytes = std::fs::read(dir.join(file)).unwrap();
        assert_eq!(read_tensors(&bytes).unwrap(), model.tensors());
    }
    // What was exported comes back with all it needs.
    succeeds(dir, &["import", "run-pytorch.safetensors", "--out", "again.safetensors"]);
    let again = Model::load(&dir.join("again.safetensors")).unwrap();
    assert_eq!((again.weights, again.running), (model.weights.clone(), model.running.clone()));
    assert_eq!((&again.about.classes, again.about.side, &again.about.std), (&data.classes, [16, 16], &data.std));
    refuses(dir, &["predict", "run-pytorch.safetensors", "pets"], 2, &["export of rdarts", "rdarts import"]);

    // Nothing that is there is written over without being asked.
    let before = contents(dir);
    for to in ["onnx", "pytorch", "safetensors"] {
        refuses(dir, &["export", "run", "--to", to], 2, &["is there already", "--force", "--out"]);
    }
    let own = ["export", "run", "--to", "safetensors", "--force", "--out", "run/model.safetensors"];
    refuses(dir, &own, 2, &["run/model.safetensors is the model itself"]);
    refuses(dir, &["export", "run", "--to", "onx"], 2, &["--to is `onx`, but must be onnx, pytorch or safetensors"]);
    refuses(dir, &["export", "run", "--to", "pytorch", "--pixels"], 2, &["--pixels is for --to onnx"]);
    refuses(dir, &["export", "run", "--to", "onnx", "--out", "pets"], 2, &["pets is a directory"]);
    refuses(dir, &["export", "run", "--to", "pytorch", "--out", "run.onnx"], 2, &["run.onnx is a file"]);
    std::fs::create_dir_all(dir.join("odd/model.py")).unwrap();
    let odd = ["export", "run", "--to", "pytorch", "--force", "--out", "odd"];
    refuses(dir, &odd, 2, &["odd/model.py is a directory: name another place with --out"]);
    assert!(contents(dir) == before);
    for to in ["onnx", "pytorch", "safetensors"] {
        succeeds(dir, &["export", "run", "--to", to, "--force"]);
    }
    assert!(contents(dir) == before, "equal models give equal files");
    // What else is in a directory stays as it is.
    for name in ["model.unfinished", "weights.unfinished", ".unfinished-0"] {
        std::fs::write(dir.join("run-pytorch").join(name), "mine").unwrap();
    }
    let before = contents(dir);
    let shown = text(&succeeds(dir, &["export", "run", "--to", "pytorch", "--force"]).stdout);
    assert!(contents(dir) == before);
    for words in ["to the bit; its metadata are right", "model.py itself was not carried out"] {
        assert!(shown.contains(words), "`{words}` is not in:\n{shown}");
    }
}

#[test]
fn what_an_export_says_of_itself_goes_before_a_data_set() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let (_, trained) = train_pictures(dir);
    let about = &trained.model.about;
    succeeds(dir, &["export", "run", "--to", "safetensors"]);
    let import = |out: &str, more: &[&str]| {
        let done = succeeds(dir, &[&["import", "run-pytorch.safetensors", "--out", out], more].concat());
        (Model::load(&dir.join(out)).unwrap().about, text(&done.stderr))
    };
    let (same, told) = import("same.safetensors", &["--data", "pets"]);
    assert_eq!(
        (&same.classes, &same.mean, &same.std, same.side),
        (&about.classes, &about.mean, &about.std, about.side)
    );
    assert!(!told.contains("note: run-pytorch"), "{told}");

    // Other names, other pictures, another size.
    for (from, to) in [("cat", "kitten"), ("cow", "calf"), ("dog", "puppy")] {
        std::fs::create_dir_all(dir.join("young").join(to)).unwrap();
        for i in 0..12u8 {
            let value = |x: u32, y: u32| image::Rgb([i, (x * y) as u8, from.as_bytes()[1] ^ x as u8]);
            let image = image::RgbImage::from_fn(40, 40, value);
            image.save(dir.join("young").join(to).join(format!("{i}.png"))).unwrap();
        }
    }
    let (kept, told) = import("kept.safetensors", &["--data", "young"]);
    assert_eq!(
        (&kept.classes, &kept.mean, &kept.std, kept.side),
        (&about.classes, &about.mean, &about.std, about.side)
    );
    for what in ["other names of the classes than young", "another mean and deviation than young"] {
        let words = format!("note: run-pytorch.safetensors has {what}: those of the file are kept");
        assert!(told.contains(&words), "`{words}` is not in:\n{told}");
    }
    let (given, told) = import("given.safetensors", &["--data", "young", "--classes", "a,b,c", "--side", "20"]);
    assert_eq!((given.classes.concat(), &given.mean, given.side), ("abc".into(), &about.mean, [20, 20]));
    assert!(!told.contains("other names"), "{told}");
    std::fs::remove_dir_all(dir.join("young/calf")).unwrap();
    let fewer = ["import", "run-pytorch.safetensors", "--out", "no.safetensors", "--data", "young"];
    refuses(dir, &fewer, 2, &["the number of classes of the network is 3, but that of young is 2"]);
}

#[test]
fn names_of_classes_are_given_to_programs_as_they_are_and_to_people_escaped() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let (_, trained) = train_pictures(dir);
    let mut model = trained.model;
    let name = "a\u{200b},\"b\"";
    model.about.classes[0] = name.into();
    // It is always the likeliest.
    let bias = model.net.read(&model.weights, "classifier.bias").unwrap();
    model.net.write(&mut model.weights, "classifier.bias", &[1e4, 0.0, 0.0], &bias.1).unwrap();
    std::fs::write(dir.join("m"), model.to_bytes()).unwrap();
    std::fs::rename(dir.join("pets/cat"), dir.join("pets").join(name)).unwrap();
    let picture = format!("pets/{name}/00.png");
    let found = json(&succeeds(dir, &["predict", "m", &picture, "--json"]));
    assert_eq!((&found["classes"][0], &found["pictures"][0]["classes"][0]["class"]), (&name.into(), &name.into()));
    let csv = text(&succeeds(dir, &["predict", "m", "pets/cow/00.png", "--csv"]).stdout);
    assert!(csv.contains("00.png,1,\"a\u{200b},\"\"b\"\"\",1"), "{csv}");
    let table = text(&succeeds(dir, &["predict", "m", "pets/cow/00.png"]).stdout);
    assert!(table.contains("a\\u{200b},\"b\""), "{table}");
    let found = json(&succeeds(dir, &["test", "m", "--data", "pets", "--json"]));
    assert_eq!(found["classes"][0]["name"], name);
    let table = text(&succeeds(dir, &["test", "m", "--data", "pets"]).stdout);
    assert!(table.contains("a\\u{200b},\"b\"") && !table.contains('\u{200b}'), "{table}");
}

#[test]
fn a_picture_for_which_the_model_gives_no_numbers_has_no_class() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let (_, trained) = train_pictures(dir);
    let mut model = trained.model;
    model.weights.iter_mut().for_each(|w| *w *= 1e30);
    std::fs::write(dir.join("m"), model.to_bytes()).unwrap();
    for form in [&["--json"][..], &["--csv"], &[]] {
        let out = run(dir, &[&["predict", "m", "pets/cat/00.png"], form].concat());
        let (shown, told) = (text(&out.stdout), text(&out.stderr));
        assert_eq!(out.status.code(), Some(2), "{told}");
        assert!(!shown.contains("NaN") && !shown.contains("null"), "{shown}");
        assert!(told.contains("the model gives no finite numbers for pets/cat/00.png, so it has no class"), "{told}");
        assert!(told.contains("error: 1 of 1 picture was not predicted"), "{told}");
    }
    refuses(dir, &["export", "m", "--to", "onnx"], 1, &["the logits of the model are no finite numbers"]);
}

#[test]
fn a_portfolio_is_tested_on_the_images_of_its_training() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    pictures(&dir.join("pets"));
    let small = [
        "network.channels=2",
        "network.cells=3",
        "search.batch=4",
        "search.epochs=1",
        "data.size=16",
        "hessian.batches=1",
        "train_network.channels=2",
        "train_network.cells=3",
        "train.batch=8",
        "train.short_epochs=1",
        "train.epochs=1",
    ];
    let small: Vec<&str> = small.iter().flat_map(|set| ["--set", set]).collect();
    succeeds(dir, &[&["robust", "--data", "pets", "--out", "run", "--values", "0.0003"], &small[..]].concat());
    let about = Model::load(&dir.join("run/model.safetensors")).unwrap().about;
    let shown = text(&succeeds(dir, &["test", "run", "--json"]).stdout);
    assert_eq!(number(&shown, "accuracy"), about.test_accuracy.unwrap());
    assert_eq!(json(&succeeds(dir, &["test", "run", "--json"]))["n"], about.n_test.unwrap());
    assert!(text(&succeeds(dir, &["test", "run"]).stdout).contains("as reported at the end of the training"));
}

#[test]
fn an_export_that_cannot_be_written_leaves_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    train_pictures(dir);
    let before = contents(dir);
    for (to, out) in [("onnx", "no/where.onnx"), ("pytorch", "no/where"), ("safetensors", "run/format/w.safetensors")] {
        refuses(dir, &["export", "run", "--to", to, "--out", out], 2, &[out, "there is no directory"]);
    }
    // A disk that is full after 4 kB; files are read whatever their size.
    let script = "ulimit -f 4; exec \"$@\"";
    for (to, out) in [("onnx", "a.onnx"), ("pytorch", "a"), ("safetensors", "a.safetensors"), ("pytorch", "pets")] {
        let mut command = Command::new("bash");
        command.args(["-c", script, "bash", env!("CARGO_BIN_EXE_rdarts"), "export", "run", "--to", to, "--out", out]);
        let done = command.current_dir(dir).output().unwrap();
        let told = text(&done.stderr);
        assert_eq!((done.status.code(), told.lines().count()), (Some(1), 1), "{to}: {told}");
        assert!(told.starts_with("error: cannot write ") && done.stdout.is_empty(), "{told}");
        assert!(contents(dir) == before, "{to} left something");
        assert_eq!(dir.join(out).exists(), out == "pets");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_export_keeps_to_the_memory_that_is_free() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    // A few images of 1024x1024 pixels fit 600 MB, those of the comparison do not all at once.
    let how = ["--mean", "0.5", "--std", "0.25", "--side", "1024", "--out", "m.safetensors"];
    succeeds(dir, &[&["import", &fixture("state.pt"), "--genotype", OF_STATE], &how[..]].concat());
    for (kib, code) in [("600000", 0), ("150000", 2)] {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("ulimit -d {kib}; exec \"$@\""), "bash", env!("CARGO_BIN_EXE_rdarts")]);
        command.args(["export", "m.safetensors", "--to", "onnx", "--threads", "2", "--force"]);
        let done = command.current_dir(dir).output().unwrap();
        assert_eq!(done.status.code(), Some(code), "{kib}: {}", text(&done.stderr));
        assert!(code == 0 || text(&done.stderr).contains("one image of 1024x1024 pixels"), "{}", text(&done.stderr));
    }
}

#[test]
fn a_damaged_or_foreign_model_file_ends_in_a_sentence() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let (_, trained) = train_pictures(dir);
    let refused = |name: &str, bytes: &[u8], words: &[&str]| {
        std::fs::write(dir.join(name), bytes).unwrap();
        for args in
            [&["predict", name, "pets"][..], &["test", name, "--data", "pets"], &["export", name, "--to", "onnx"]]
        {
            refuses(dir, args, 2, &[&[name], words].concat());
        }
    };
    let whole = trained.model.to_bytes();
    for cut in [0, 5, 100, whole.len() / 2, whole.len() - 1] {
        refused("cut", &whole[..cut], &["the model file cut: it is cut short"]);
    }
    let changed = |change: &dyn Fn(&mut Model)| {
        let mut model = trained.model.clone();
        change(&mut model);
        model.to_bytes()
    };
    refused(
        "newer",
        &changed(&|model| model.about.format = 7),
        &["it has the form 7, and this program knows forms up to 1"],
    );
    let one_more = changed(&|model| model.about.classes.push("eel".into()));
    refused("classes", &one_more, &["classifier."]);
    refused(
        "wide",
        &changed(&|model| model.about.channels = 4096),
        &["its tensors hold", "values, and its network needs"],
    );
    refused("long", &changed(&|model| model.about.cells = 1000), &["it has no tensor `cells."]);
    refused("nan", &changed(&|model| model.weights[0] = f32::NAN), &["has a value that is no finite number"]);
    refused("negative", &changed(&|model| model.running[..12].fill(-1.0)), &["has a variance below 0"]);
    // One more tensor, without values, whose name begins like one that is needed.
    let length = u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&whole[8..8 + length]).unwrap();
    let end = whole.len() - 8 - length;
    header["stem.1.running_std"] = serde_json::json!({ "dtype": "F32", "shape": [0], "data_offsets": [end, end] });
    let header = header.to_string().into_bytes();
    let more = [&(header.len() as u64).to_le_bytes()[..], &header, &whole[8 + length..]].concat();
    refused("more", &more, &["its tensor `stem.1.running_std` has no place in a network of this genotype"]);
    refused("torch.pt", b"PK\x03\x04 and so on", &["a checkpoint of PyTorch: `rdarts import`"]);
    refused("text", b"epoch,loss\n1,2,3\n", &["not a model that `rdarts train` writes"]);
    // Any changed byte of the header ends in a sentence or changes nothing that matters.
    let length = whole.len().min(1500);
    for at in (8..length).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x15;
        std::fs::write(dir.join("changed"), bytes).unwrap();
        let out = run(dir, &["predict", "changed", "pets/cat/00.png"]);
        assert!(matches!(out.status.code(), Some(0 | 2)), "byte {at}: {}", text(&out.stderr));
    }
    let search = ["search", "--space", "tiny", "--epochs", "1", "--out", "search", "--set", "data.limit=32"];
    let small = ["--set", "network.channels=2", "--set", "network.cells=3", "--set", "search.batch=4"];
    succeeds(dir, &[&search[..], &small].concat());
    refuses(dir, &["predict", "search", "pets"], 2, &["search is a search, which leaves an architecture"]);
}

/// The network of `state.pt` among the tests of the exports.
const OF_STATE: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('dil_conv_3x3', 2), ('max_pool_3x3', 0)], \
                        normal_concat=range(2, 4), reduce=[('avg_pool_3x3', 0), ('skip_connect', 1)], \
                        reduce_concat=range(2, 3))";

fn fixture(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = root.join("tests/data").join(name);
    let path = if own.exists() { own } else { root.join("../rdarts-export/tests/data").join(name) };
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_evaluation_checkpoint_becomes_a_model() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let state = fixture("state.pt");
    let how = ["--mean", "0.5", "--std", "0.25", "--side", "9"];
    let args = [&["import", &state, "--genotype", OF_STATE, "--classes", "a,b,c,d"], &how[..]].concat();
    let shown = text(&succeeds(dir, &args).stdout);
    assert!(shown.contains("state.safetensors: 3 cells, 2 channels at first"), "{shown}");
    let model = Model::load(&dir.join("state.safetensors")).unwrap();
    let about = &model.about;
    assert_eq!((about.classes.join(""), about.side, about.mean[0], about.std[0]), ("abcd".into(), [9, 9], 0.5, 0.25));
    image::GrayImage::from_fn(9, 9, |x, y| image::Luma([(x * y * 3) as u8])).save(dir.join("p.png")).unwrap();
    assert_eq!(
        json(&succeeds(dir, &["predict", "state.safetensors", "p.png", "--json"]))["failed"],
        serde_json::json!([])
    );
    succeeds(dir, &["export", "state.safetensors", "--to", "onnx"]);
    refuses(dir, &args, 2, &["state.safetensors is there already"]);

    // A genotype in a file, in another form; classes without names are told.
    std::fs::write(dir.join("g.txt"), format!("03/11 genotype = {OF_STATE}\n")).unwrap();
    let legacy = fixture("legacy.pt");
    let out =
        succeeds(dir, &[&["import", &legacy, "--genotype", "g.txt", "--out", "l.safetensors"], &how[..]].concat());
    assert!(text(&out.stderr).contains("note: the classes are called class_0 to class_3; --classes names them"));
    let other = Model::load(&dir.join("l.safetensors")).unwrap();
    assert_eq!((&other.weights, other.about.classes[3].as_str()), (&model.weights, "class_3"));

    let refused = |more: &[&str], words: &[&str]| {
        refuses(dir, &[&["import", &state, "--out", "n.safetensors"], more].concat(), 2, words);
        assert!(!dir.join("n.safetensors").exists());
    };
    refused(&how, &["network of 3 cells, 2 channels and 4 classes", "--genotype"]);
    refused(&["--genotype", OF_STATE], &["how its images were normalised", "--data", "--mean and --std"]);
    let wrong = OF_STATE.replace("dil_conv_3x3", "dil_conv_5x5");
    refused(&["--genotype", &wrong], &["`cells.0._ops.2.op.1.weight` has the shape [2, 1, 3, 3]", "[2, 1, 5, 5]"]);
    refused(&["--genotype", "DARTS_V3"], &["DARTS_V3", "DARTS_V2"]);
    refused(&["--genotype", "DARTS_V2"], &["the genotype is not that of these weights"]);
    refused(&["--genotype", &OF_STATE.replace("max_pool", "max_pol")], &["max_pol_3x3", "max_pool_3x3"]);
    refused(
        &["--genotype", OF_STATE, "--data", "fashion-mini"],
        &["the number of classes of the network is 4, but that of fashion-mini is 10"],
    );
    refused(&["--genotype", OF_STATE, "--mean", "0.5", "--std", "0"], &["--std should be 1 number above 0"]);
    refused(
        &["--genotype", OF_STATE, "--mean", "0.5,0.5", "--std", "1,1"],
        &["--mean should be 1 number, one for each"],
    );
    let given = ["--genotype", OF_STATE, "--mean", "0.5", "--std", "0.25"];
    refused(&[&given[..], &["--classes", "a,b"]].concat(), &["--classes names 2, but the network has 4"]);
    refused(&[&given[..], &["--classes", "a,b,c,a"]].concat(), &["--classes names `a` twice"]);
    refused(&[&given[..], &["--space", "s1"]].concat(), &["--space is for a search"]);
    refuses(dir, &["import", "absent.pt"], 2, &["there is no file absent.pt"]);
    let whole = std::fs::read(&state).unwrap();
    std::fs::write(dir.join("cut.pt"), &whole[..whole.len() / 2]).unwrap();
    refuses(dir, &["import", "cut.pt"], 2, &["cut.pt cannot be read as a checkpoint of PyTorch"]);
}

#[test]
fn a_search_checkpoint_becomes_its_genotype() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    // In row e the operation e % 8 is the strongest, in the reduction cell (e + 3) % 8; later rows are stronger.
    let alphas = |first: usize| -> Vec<f32> {
        let of = |e: usize, op: usize| if op == (e + first) % 8 { 0.1 * (e as f32 + 1.0) } else { 0.0 };
        (0..14 * 8).map(|i| of(i / 8, i % 8)).collect()
    };
    let wanted = derive(&Space::builtin("darts").unwrap(), &alphas(0), &alphas(3));
    let shown = text(&succeeds(dir, &["import", &fixture("search-darts.pt")]).stdout);
    assert_eq!(shown, format!("{wanted}\n"));
    let found = json(&succeeds(dir, &["import", &fixture("search-darts.pt"), "--json", "--out", "g.txt"]));
    assert_eq!((found["space"].as_str(), found["genotype_text"].as_str()), (Some("darts"), Some(shown.trim())));
    assert_eq!(std::fs::read_to_string(dir.join("g.txt")).unwrap(), shown);

    let two = fixture("search-two.pt");
    refuses(dir, &["import", &two], 2, &["14 edges with 2 operations", "s1, s2 or s4", "--space"]);
    let s4 = text(&succeeds(dir, &["import", &two, "--space", "s4"]).stdout);
    assert!(s4.contains("noise") && s4.contains("sep_conv_3x3"), "{s4}");
    refuses(
        dir,
        &["import", &two, "--space", "s3"],
        2,
        &["14 edges with 2 operations, but the space s3 has 14 with 3"],
    );
    refuses(
        dir,
        &["import", &fixture("search-bare.pt")],
        2,
        &["supernet of 1 cell, but not its alphas", "`rdarts import log.txt`"],
    );
    refuses(dir, &["import", &fixture("search-nan.pt")], 2, &["has the value NaN in its tensor `alphas_reduce`"]);
    refuses(dir, &["import", &two, "--classes", "a,b"], 2, &["--classes is for the weights of an evaluation network"]);
}

#[test]
fn a_genotype_in_any_form_is_printed_in_ours() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let json = r#"{"normal": [["sep_conv_3x3", 0], ["skip_connect", 1]], "normal_concat": [2], "reduce": null, "reduce_concat": null}"#;
    std::fs::write(dir.join("g.json"), json).unwrap();
    std::fs::write(dir.join("log.txt"), format!("2019-11-03 10:15 genotype = {OF_STATE}\n")).unwrap();
    assert_eq!(
        text(&succeeds(dir, &["import", "g.json"]).stdout),
        "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=range(2, 3), reduce=None, \
         reduce_concat=None)\n"
    );
    assert_eq!(text(&succeeds(dir, &["import", "log.txt"]).stdout), format!("{OF_STATE}\n"));
    std::fs::write(dir.join("bad.txt"), "Genotype(normal=[('sep_conv_3x4', 0)").unwrap();
    refuses(dir, &["import", "bad.txt"], 2, &["bad.txt, line 1, column", "sep_conv_3x4", "sep_conv_3x3"]);
}

/// What a search of the published code writes, of three epochs.
fn log(genotypes: [&str; 3]) -> String {
    let mut log = "11/03 10:15:00 AM gpu device = 0\n\
        11/03 10:15:00 AM args = Namespace(arch_learning_rate=0.0003, batch_size=64, data='../data', space='s1')\n\
        11/03 10:15:04 AM param size = 1.930618MB\n"
        .to_owned();
    for (epoch, genotype) in genotypes.into_iter().enumerate() {
        log += &format!(
            "11/03 10:2{epoch}:10 AM epoch {epoch} lr 2.500000e-02\n11/03 10:2{epoch}:10 AM genotype = {genotype}\n\
             tensor([[0.1250, 0.1249],\n        [0.1250, 0.1251]], device='cuda:0', grad_fn=<SoftmaxBackward>)\n\
             11/03 10:2{epoch}:11 AM train 000 2.6e+00 12.500000 45.312500\n11/03 10:2{epoch}:59 AM valid_acc 46.4\n"
        );
    }
    log
}

#[test]
fn the_last_genotype_of_a_log_is_taken() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let earlier = OF_STATE.replace("sep_conv_3x3", "sep_conv_5x5");
    std::fs::write(dir.join("log.txt"), log([&earlier, &earlier, OF_STATE])).unwrap();
    let done = succeeds(dir, &["import", "log.txt"]);
    assert_eq!(text(&done.stdout), format!("{OF_STATE}\n"));
    assert_eq!(text(&done.stderr), "note: log.txt has 3 genotypes; the last one, of line 17, is taken\n");
    // As the cells of weights too; and where the program was stopped while it wrote.
    let whole = log([&earlier, OF_STATE, OF_STATE]);
    std::fs::write(dir.join("cut.txt"), &whole[..whole.rfind("dil_conv").unwrap()]).unwrap();
    let state = fixture("state.pt");
    let done = succeeds(dir, &["import", &state, "--genotype", "cut.txt", "--mean", "0.5", "--std", "0.25"]);
    let told = text(&done.stderr);
    assert!(told.contains("note: the last genotype of cut.txt is cut short, so that of line 11 is taken"), "{told}");
    // A later one that is wrong is not passed over.
    std::fs::write(dir.join("bad.txt"), log([OF_STATE, &OF_STATE.replace("sep_conv_3x3", "zero"), OF_STATE])).unwrap();
    assert!(text(&succeeds(dir, &["import", "bad.txt"]).stderr).contains("of line 17"));
    std::fs::write(dir.join("bad.txt"), log([OF_STATE, OF_STATE, &OF_STATE.replace("sep_conv_3x3", "zero")])).unwrap();
    refuses(dir, &["import", "bad.txt"], 2, &["bad.txt, line 17, column 48: unknown operation `zero`"]);
    std::fs::write(dir.join("none.txt"), "11/03 10:15:00 AM gpu device = 0\n11/03 valid_acc 3\n").unwrap();
    refuses(dir, &["import", "none.txt"], 2, &["none.txt, line 1, column 1: expected `Genotype(`"]);
    // What RobustDARTS keeps of a training.
    std::fs::write(dir.join("arch_3"), format!("({OF_STATE}, OrderedDict([('a', tensor([1.]))]))")).unwrap();
    let done = succeeds(dir, &["import", "arch_3"]);
    assert_eq!((text(&done.stdout), text(&done.stderr)), (format!("{OF_STATE}\n"), String::new()));
}

#[test]
fn one_of_several_genotypes_with_names_is_named() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let lines = OF_STATE.replace("), ", "),\n    ");
    let other = lines.replace("sep_conv_3x3", "sep_conv_5x5");
    let page = format!(
        "from collections import namedtuple\n\nGenotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')\n\n\
         PRIMITIVES = [\n    'none',\n    'max_pool_3x3',\n]\n\nNASNet = {other}\n\nDARTS_V1 = {lines}\nDARTS_V2 = {other}\n\n\
         DARTS = DARTS_V2\n"
    );
    std::fs::write(dir.join("genotypes.py"), page).unwrap();
    let done = succeeds(dir, &["import", "genotypes.py:DARTS_V1"]);
    assert_eq!((text(&done.stdout), text(&done.stderr)), (format!("{OF_STATE}\n"), String::new()));
    let state = fixture("state.pt");
    succeeds(dir, &["import", &state, "--genotype", "genotypes.py:DARTS_V1", "--mean", "0.5", "--std", "0.25"]);
    let names = "it has NASNet, DARTS_V1, DARTS_V2";
    refuses(
        dir,
        &["import", "genotypes.py"],
        2,
        &["genotypes.py has several genotypes", "genotypes.py:DARTS_V1", names],
    );
    let other = ["import", &state, "--genotype", "genotypes.py", "--out", "other.safetensors"];
    refuses(dir, &other, 2, &["genotypes.py has several genotypes", names]);
    refuses(dir, &["import", "genotypes.py:PCDARTS"], 2, &["genotypes.py has no genotype called `PCDARTS`", names]);
    std::fs::write(dir.join("log.txt"), log([OF_STATE; 3])).unwrap();
    refuses(dir, &["import", "log.txt:A"], 2, &["log.txt has no genotype called `A`: none in it has a name"]);
}

#[test]
fn the_names_of_the_published_code_are_read_and_written() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    // By hand, from operations.py and model.py of the published code: one cell of 2 channels that does not reduce.
    let norm = |name: &str, c: usize| {
        ["weight", "bias", "running_mean", "running_var"].map(|part| (format!("{name}.{part}"), vec![c]))
    };
    let weight = |name: &str, shape: [usize; 4]| [(format!("{name}.weight"), shape.to_vec())];
    let shapes: BTreeMap<String, Vec<usize>> = [
        &weight("stem.0", [6, 1, 3, 3])[..],
        &norm("stem.1", 6),
        &weight("cells.0.preprocess0.op.1", [2, 6, 1, 1]),
        &norm("cells.0.preprocess0.op.2", 2),
        &weight("cells.0.preprocess1.op.1", [2, 6, 1, 1]),
        &norm("cells.0.preprocess1.op.2", 2),
        // An `nn.Sequential` without a class around it.
        &weight("cells.0._ops.0.1", [2, 2, 1, 7]),
        &weight("cells.0._ops.0.2", [2, 2, 7, 1]),
        &norm("cells.0._ops.0.3", 2),
        &weight("cells.0._ops.1.op.1", [2, 1, 3, 3]),
        &weight("cells.0._ops.1.op.2", [2, 2, 1, 1]),
        &norm("cells.0._ops.1.op.3", 2),
        &[("classifier.weight".to_owned(), vec![2, 2]), ("classifier.bias".to_owned(), vec![2])],
    ]
    .concat()
    .into_iter()
    .collect();
    let tensors: BTreeMap<String, Tensor> = shapes
        .into_iter()
        .enumerate()
        .map(|(i, (name, shape))| {
            let n: usize = shape.iter().product();
            (name, Tensor { shape, values: (0..n).map(|k| 0.1 + (0.37 * (i + k) as f32) % 1.0).collect() })
        })
        .collect();
    let text_of = "Genotype(normal=[('conv_7x1_1x7', 0), ('dil_conv_3x3', 1)], normal_concat=[2], reduce=None, reduce_concat=None)";
    let genotype = text_of.parse().unwrap();
    let classes = ["a".to_owned(), "b".to_owned()];
    let published = rdarts::export::Trained {
        genotype: &genotype,
        cells: 1,
        channels: 2,
        reductions: &[],
        c_image: 1,
        classes: &classes,
        side: [8, 8],
        mean: &[0.5],
        std: &[0.25],
        auxiliary: false,
        tensors: &tensors,
    };
    std::fs::write(dir.join("published.safetensors"), rdarts::export::safetensors(&published).unwrap()).unwrap();
    succeeds(dir, &["import", "published.safetensors", "--out", "m.safetensors"]);
    succeeds(dir, &["export", "m.safetensors", "--to", "onnx"]);
    succeeds(dir, &["export", "m.safetensors", "--to", "safetensors", "--out", "again.safetensors"]);
    let again = read_tensors(&std::fs::read(dir.join("again.safetensors")).unwrap()).unwrap();
    let again: BTreeMap<String, Tensor> =
        again.into_iter().map(|(name, t)| (name, Tensor { shape: t.shape, values: t.values })).collect();
    assert_eq!(again, tensors);
}
