//! Trained networks in use: `predict`, `test`, `export` and `import` as their user meets them, with models that a training
//! of a few steps leaves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

use rdarts::data::{Dataset, eval_batches};
use rdarts::export::run_onnx;
use rdarts::net::Engine;
use rdarts::run::{Event, RunDir, Spec, TrainSpec};
use rdarts::space::{Space, derive};
use rdarts::train::model::read_tensors;
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
        let found = run_onnx(&std::fs::read(dir.join(out)).unwrap(), &images, [3, 3, 16, 16]).unwrap();
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
    assert!(contents(dir) == before);
    for to in ["onnx", "pytorch", "safetensors"] {
        succeeds(dir, &["export", "run", "--to", to, "--force"]);
    }
    assert!(contents(dir) == before, "equal models give equal files");
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
    assert!(shown.contains("state.safetensors: 3 cells of 2 channels at first"), "{shown}");
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
