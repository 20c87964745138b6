//! `rdarts predict` of a model that estimates disparity.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use rdarts_data::stereo::{Coding, Pair, StereoEval, coloured_png, encode, read_truth, read_view};
use rdarts_data::{available_memory, pictures, shown};
use rdarts_net::{Engine, Evaluator};
use rdarts_run::write_file;
use rdarts_train::disparity::{Assessment, DisparityModel};
use serde_json::{Value, json};

use super::Args;
use crate::conduct::count;
use crate::disparity_trainings::table;
use crate::exit::{Exit, out, say};
use crate::model_file::{ModelFile, gib, path_text};

/// A pair on its way: its views, its truth, and what is written.
struct Job {
    left: PathBuf,
    right: PathBuf,
    truth: Option<PathBuf>,
    /// PFM, PNG in 256ths, coloured PNG.
    files: [PathBuf; 3],
}

/// Estimates the disparities of all pairs.
pub fn run(args: &Args, file: &ModelFile<DisparityModel>, engine: &Engine) -> Result<ExitCode, Exit> {
    if args.csv {
        return Err(Exit::Input("--csv lists classes, but this model estimates disparity: say --json".into()));
    }
    let jobs = jobs(args)?;
    if let Some(file) = args.out.as_deref().filter(|out| out.exists() && !out.is_dir()) {
        return Err(Exit::Input(format!("--out is {}, a file, but it should be a directory", shown(file))));
    }
    let evaluator = file.model.evaluator(engine);
    let (mut told, mut failed, mut total) = (Vec::new(), Vec::new(), Assessment::default());
    for job in &jobs {
        match estimate(&file.model, &evaluator, job) {
            Ok((value, line, errors)) => {
                if !args.json {
                    out!("{line}");
                }
                total.all.merge(&errors.all);
                total.n += errors.n;
                told.push(value);
            }
            // What the machine refuses ends it; what is wrong with a pair is told, and the others are estimated.
            Err(e @ Exit::Failed(_)) => return Err(e),
            Err(e) if jobs.len() == 1 => return Err(e),
            Err(e) => {
                say!("{e}");
                failed.push(json!({ "pair": path_text(&job.left), "problem": e.to_string() }));
            }
        }
    }
    let n_failed = failed.len();
    if args.json {
        let whole = json!({
            "model": path_text(&file.path), "pairs": told, "errors": total.errors(), "failed": failed,
        });
        out!("{whole:#}");
    } else if let Some(errors) = total.errors() {
        out!("");
        table(&count(total.n, "pair with its truth").replace("truths", "truth"), &errors, None);
    }
    match n_failed {
        0 => Ok(ExitCode::SUCCESS),
        n => Err(Exit::Input(format!("{n} of {} were not estimated", count(jobs.len(), "pair")))),
    }
}

/// What the arguments name, all of it there.
fn jobs(args: &Args) -> Result<Vec<Job>, Exit> {
    let dir = args.out.clone().unwrap_or_default();
    let files = |name: &str| {
        ["-disparity.pfm", "-disparity.png", "-disparity-colour.png"].map(|end| dir.join(format!("{name}{end}")))
    };
    let stem = |path: &Path| path.file_stem().map_or("pair".into(), |stem| stem.to_string_lossy().into_owned());
    let jobs = match &args.pictures[..] {
        [pairs] if pairs.is_dir() => folder(pairs, args.truth.as_deref(), files)?,
        [left, right] if !left.is_dir() && !right.is_dir() => {
            let truth = match &args.truth {
                Some(dir) if dir.is_dir() => Some(truth_in(dir, &stem(left)).ok_or_else(|| {
                    let (dir, name) = (shown(dir), shown(stem(left)));
                    Exit::Input(format!("--truth: {dir} has none of {name}.pfm, {name}.png and {name}.pgm"))
                })?),
                other => other.clone(),
            };
            vec![Job { left: left.clone(), right: right.clone(), truth, files: files(&stem(left)) }]
        }
        other => {
            return Err(Exit::Input(format!(
                "this model estimates disparity: name the left and the right view, or one directory with left/ and right/, \
                 and not {}",
                count(other.len(), "path")
            )));
        }
    };
    let is_own = |path: &PathBuf| jobs.iter().any(|job| &job.left == path || &job.right == path);
    let all = jobs.iter().flat_map(|job| &job.files);
    if let Some(there) = all.into_iter().find(|path| path.exists() && (!args.force || is_own(path))) {
        let there = shown(there);
        return Err(Exit::Input(format!("{there} is there already: --force replaces it, --out names another place")));
    }
    Ok(jobs)
}

/// The pairs of a directory.
fn folder(dir: &Path, truth: Option<&Path>, files: impl Fn(&str) -> [PathBuf; 3]) -> Result<Vec<Job>, Exit> {
    if let Some(truth) = truth.filter(|truth| !truth.is_dir()) {
        let truth = shown(truth);
        return Err(Exit::Input(format!("--truth is {truth}, but of a directory of pairs it should be a directory")));
    }
    let [left, right] = ["left", "right"].map(|side| dir.join(side));
    if let Some(missing) = [&left, &right].into_iter().find(|dir| !dir.is_dir()) {
        let (dir, missing) = (shown(dir), shown(missing));
        return Err(Exit::Input(format!(
            "{dir} should hold left/ and right/ with files of the same names: there is no {missing}"
        )));
    }
    let names = |dir: &Path| -> Result<Vec<(String, PathBuf)>, Exit> {
        let (found, _) = pictures(dir)?;
        let named = |path: PathBuf| Some((path.file_stem()?.to_str()?.to_owned(), path));
        Ok(found.into_iter().filter_map(named).collect())
    };
    let (lefts, rights) = (names(&left)?, names(&right)?);
    let mut jobs = Vec::new();
    for (name, left) in lefts {
        let Some((_, right)) = rights.iter().find(|(other, _)| *other == name) else {
            return Err(Exit::Input(format!("{} has no picture {} for {}", shown(&right), shown(&name), shown(&left))));
        };
        if let Some(twin) = jobs.iter().map(|job: &Job| &job.left).find(|twin| twin.file_stem() == left.file_stem()) {
            let (a, b) = (shown(twin), shown(&left));
            return Err(Exit::Input(format!("{a} and {b} would both be written as {}: rename one", shown(&name))));
        }
        let truth = truth.and_then(|dir| truth_in(dir, &name));
        jobs.push(Job { right: right.clone(), truth, files: files(&name), left });
    }
    match jobs.is_empty() {
        true => Err(Exit::Input(format!("there is no picture in {} (PNG, JPEG or WebP)", shown(&left)))),
        false => Ok(jobs),
    }
}

fn truth_in(dir: &Path, name: &str) -> Option<PathBuf> {
    ["pfm", "png", "pgm"].iter().map(|end| dir.join(format!("{name}.{end}"))).find(|path| path.is_file())
}

/// Writes the disparities of a pair: the account for programs, for people, and what they are held to.
fn estimate(
    model: &DisparityModel,
    evaluator: &Evaluator<f32>,
    job: &Job,
) -> Result<(Value, String, Assessment), Exit> {
    let pair = read(job)?;
    let (height, width) = (pair.height, pair.width);
    let has_truth = job.truth.is_some();
    let side = [height, width].map(|side| side.next_multiple_of(model.sizes.stride()));
    let needed = model.net.evaluation_estimate(1, side);
    if let Some(free) = available_memory().filter(|free| needed > *free) {
        return Err(Exit::Input(format!(
            "{}: a pair of {width}x{height} pixels in this model needs about {:.1} GiB of memory and this process has {:.1} \
             GiB free",
            shown(&job.left),
            gib(needed),
            gib(free)
        )));
    }
    let begin = Instant::now();
    let eval = StereoEval::new(&[pair], model.sizes.stride());
    let found = model.estimate(evaluator, &eval);
    let seconds = begin.elapsed().as_secs_f64();
    if !found.iter().all(|d| d.is_finite()) {
        return Err(Exit::Input(format!("{}: the model gives no finite disparities", shown(&job.left))));
    }
    let (low, high) = found.iter().fold((f32::INFINITY, 0f32), |(low, high), d| (low.min(*d), high.max(*d)));
    let mean = found.iter().map(|d| f64::from(*d)).sum::<f64>() / found.len() as f64;
    let mut errors = Assessment::default();
    if has_truth {
        errors.add(1, &found, &eval.disparity, None);
    }
    let encoded = |coding| encode(width, &found, coding).expect("a coding that is written");
    let contents = [encoded(Coding::Pfm), encoded(Coding::Kitti), coloured_png(width, &found, low, high)];
    // Not before there is something to write.
    if let Some(dir) = job.files[0].parent().filter(|dir| !dir.as_os_str().is_empty()) {
        let cannot = |e| Exit::Failed(format!("cannot make the directory {}: {e}", shown(dir)));
        std::fs::create_dir_all(dir).map_err(cannot)?;
    }
    for (path, bytes) in job.files.iter().zip(&contents) {
        write_file(path, bytes)?;
    }
    let line = format!(
        "{} ({width}x{height}): {low:.2} to {high:.2} px, mean {mean:.2}; {seconds:.2} s{}",
        shown(&job.files[0]),
        match (errors.errors(), has_truth) {
            (Some(e), _) => format!("; end-point error {:.3} px, {:.2} % above 3 px", e.error, 100.0 * e.bad3),
            (None, true) => "; no pixel of its truth is known".into(),
            (None, false) => String::new(),
        }
    );
    let value = json!({
        "left": path_text(&job.left), "right": path_text(&job.right), "height": height, "width": width,
        "pfm": path_text(&job.files[0]), "png": path_text(&job.files[1]), "colour": path_text(&job.files[2]),
        "least": low, "most": high, "mean": mean, "seconds": seconds, "errors": errors.errors(),
    });
    Ok((value, line, errors))
}

/// The views with their truth, if there is one.
fn read(job: &Job) -> Result<Pair, Exit> {
    let (height, width, left) = read_view(&job.left)?;
    let (right_height, right_width, right) = read_view(&job.right)?;
    let differs = |what: &Path, [h, w]: [usize; 2]| {
        Exit::Input(format!(
            "{} has {width}x{height} pixels and {} has {w}x{h}, but they should be equal",
            shown(&job.left),
            shown(what)
        ))
    };
    if [right_height, right_width] != [height, width] {
        return Err(differs(&job.right, [right_height, right_width]));
    }
    let mut disparity = vec![f32::NAN; height * width];
    if let Some(path) = &job.truth {
        let (map, coding) = read_truth(path, &job.left)?;
        let path_shown = shown(path);
        match coding {
            Coding::Scaled(scale) => say!(
                "note: {path_shown} holds bytes: by its size they are taken for those of an older scene of Middlebury, {scale} to \
                 a pixel"
            ),
            Coding::Sintel => say!("note: {path_shown} holds colours, which are taken for Sintel's disparities"),
            _ => {}
        }
        if [map.height, map.width] != [height, width] {
            return Err(differs(path, [map.height, map.width]));
        }
        let [n_below, n_above] = [f32::lt, f32::gt].map(|is| map.values.iter().filter(|d| is(d, &0.0)).count());
        if n_below.min(n_above) > 0 {
            return Err(Exit::Input(format!(
                "{path_shown} has {n_below} disparities below 0 and {n_above} above it, but all should have one sign"
            )));
        }
        // Some sets store them with the other sign.
        disparity = map.values.into_iter().map(f32::abs).collect();
    }
    Ok(Pair { height, width, left, right, disparity, visible: None })
}
