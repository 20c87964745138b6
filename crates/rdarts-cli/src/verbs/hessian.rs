//! `rdarts hessian`: the curvature of the validation loss in architecture space, at a checkpoint.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use rdarts_data::shown;
use rdarts_monitor::{Decision, Why};
use rdarts_net::{Engine, FullHessian};
use rdarts_run::{
    CheckpointName, DisparitySearchSpec, HessianImages, HessianSpec, LandscapeLine, RunView, SearchSpec, Spec,
    Spectrum, for_shell,
};
use rdarts_search::hessian::{Curvature, MeanHessian, diagonal, eigenvalue};
use rdarts_search::lanczos::spectrum;
use rdarts_search::landscape::{Grid, landscape};
use rdarts_search::rules::decide_after;
use rdarts_search::{Search, State};
use rdarts_train::TrainError;
use serde_json::json;

use crate::conduct::{one_of, set_threads};
use crate::device::OnDevice;
use crate::exit::{Exit, out, say};
use crate::plot::{self, Point};
use crate::searches::{learned, measured_on, reopen, trajectory};

/// The alpha-Hessian of a checkpoint: dominant eigenvalue, full spectrum, where it lies on the trajectory
///
/// On the images that the search measured (hessian.images and hessian.batches of its spec): with the preset paper the
/// last batch that trained the alphas in that epoch, with demo four fixed ones. Exact second derivatives, no finite
/// differences. In mode `reference` (hessian.mode of the spec) the weight decay of the alphas is on the diagonal, as in
/// the paper's code.
///
/// Without --full the dominant eigenvalue comes from Lanczos, with a bound of its error; with --full the whole
/// matrix is computed, and all its eigenvalues.
#[derive(clap::Args)]
pub struct Args {
    /// The run directory; the search may be running
    dir: PathBuf,
    /// Epoch, counted from 0 [default: the newest with a checkpoint]
    #[arg(long)]
    epoch: Option<usize>,
    /// The full matrix and its spectrum, which is added to the run directory for its page
    #[arg(long)]
    full: bool,
    /// With `all` the spectra of all epochs that have a checkpoint, for the page of the run
    #[arg(long, value_name = "all", requires = "full", conflicts_with = "epoch", value_parser = ["all"])]
    epochs: Option<String>,
    /// The validation loss along the dominant eigenvector and three random directions, for the page of the run
    #[arg(long, conflicts_with_all = ["full", "tolerance"])]
    landscape: bool,
    /// How far the landscape reaches on both sides, in alphas, at most 1000 [default: 5]
    #[arg(long, value_name = "DISTANCE", requires = "landscape")]
    reach: Option<f64>,
    /// Relative error of the dominant eigenvalue [default: hessian.tolerance of the run]
    #[arg(long, conflicts_with = "full")]
    tolerance: Option<f64>,
    /// Batches whose mean loss is measured [default: hessian.batches of the run]
    #[arg(long, value_name = "N")]
    batches: Option<usize>,
    #[arg(long, value_name = "WHICH", help = images_help())]
    images: Option<String>,
    /// Directory of the data set, if it is not where it was
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Threads that compute [default: all processors]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    on: OnDevice,
    /// Print one JSON object, with the matrix if --full is given
    #[arg(long)]
    json: bool,
}

/// So far from the alphas the softmax of nearly every edge is one operation, and the loss says nothing new.
const MOST_REACH: f64 = 1000.0;

fn images_help() -> String {
    format!("Images to measure on: {} [default: hessian.images of the run]", one_of(HessianImages::NAMES))
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    if let Some(t) = args.tolerance.filter(|t| !(*t > 0.0 && *t < 1.0)) {
        return Err(Exit::Input(format!("--tolerance is {t}, but must be above 0 and below 1")));
    }
    if let Some(reach) = args.reach.filter(|reach| !(*reach > 0.0 && *reach <= MOST_REACH)) {
        return Err(Exit::Input(format!(
            "--reach is {reach}, but must be a number above 0 and at most {MOST_REACH}, where each edge is one operation"
        )));
    }
    let engine = args.on.engine()?;
    let view = RunView::open(&args.dir)?;
    if view.kind() == DisparitySearchSpec::KIND {
        let path = for_shell(&args.dir);
        return Err(Exit::Input(format!(
            "{path} is a search for disparity, whose eigenvalues are measured while it runs (hessian.every, hessian.batches): \
             `rdarts report {path}` shows them; hessian looks at searches for classification"
        )));
    }
    let spec = view.spec::<SearchSpec>()?;
    set_threads(args.threads)?;
    if args.epochs.is_some() {
        return all_spectra(&view, &spec, &args, engine);
    }
    let name = choose(&view, &spec, args.epoch)?;
    // Before the images are read: a search that is running deletes what it needs no more.
    let checkpoint = view.load_checkpoint(&name)?;
    let mut search = reopen(&view, args.data_dir.as_deref(), engine, args.json)?;
    let state = State::from_checkpoint(&search, &name.to_string(), checkpoint)?;
    let as_recorded = search.spec.hessian.clone();
    let wanted = hessian_spec(&as_recorded, &args)?;
    search.measure_on(wanted.clone()).map_err(|e| match e {
        TrainError::Input(_) if wanted.batches > search.most_hessian_batches() => {
            Exit::Input(format!("--batches is {}, but {}", wanted.batches, search.few_hessian_batches()))
        }
        e => e.into(),
    })?;
    let epoch = name.epoch;
    if args.landscape {
        return lines(&view, &search, &state, epoch, &args);
    }
    let trajectory = trajectory(&view.events()?);
    let is_as_recorded = search.spec.hessian == as_recorded;
    let recorded = trajectory
        .iter()
        .filter(|_| is_as_recorded)
        .rev()
        .find(|p| p.epoch == epoch && p.attempt == state.at.trained_attempt)
        .map(|p| p.value);
    let mut out = json!({
        "directory": args.dir.display().to_string(),
        "epoch": epoch,
        "attempt": state.at.trained_attempt,
        "mode": search.spec.hessian.mode.as_str(),
        "batches": search.spec.hessian.batches,
        "images": search.spec.hessian.images.as_str(),
        "recorded": recorded,
    });
    if !args.json {
        let mode = match diagonal(&search.spec) {
            0.0 => "plain".to_string(),
            d => format!("reference: {d:e} on the diagonal"),
        };
        out!(
            "alpha-Hessian of the validation loss after epoch {epoch} ({}, {mode}, {} of {} images)",
            learned(&search),
            measured_on(&search.spec.hessian),
            search.spec.search.batch,
        );
    }
    let value = if args.full {
        let value = full(&search, &state, epoch, &args, &mut out)?;
        if value.is_finite() {
            let values = out["spectrum"].as_array().into_iter().flatten().filter_map(|v| v.as_f64()).collect();
            if let Err(e) = view.add_spectrum(&of(&search, &state, epoch, values)) {
                say!("warning: the spectrum was not added to the run directory: {e}");
            }
        }
        value
    } else {
        dominant(&search, &state, epoch, &args, &mut out)?
    };
    if !value.is_finite() {
        return Err(Exit::Failed(format!(
            "the Hessian after epoch {epoch} has entries that are not finite: the search has diverged"
        )));
    }
    if args.json {
        out!("{out:#}");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(r) = recorded {
        out!("the search recorded  {r:.6} (difference {:.1e})", (r - value).abs());
    }
    out!("");
    out!("{}", plot::draw(&trajectory, 8, 60));
    // Other images than those of the trajectory have another scale.
    if !trajectory.is_empty() && is_as_recorded {
        out!("{}", place(&trajectory, epoch, recorded.unwrap_or(value)));
    }
    let word = decide_after(&search.spec, &state, epoch);
    // After the last epoch no search goes on, unless something keeps it from being stopped.
    let goes_on = matches!(
        word,
        Decision::Continue(Why::PlainDarts | Why::NotMeasured | Why::TooEarly | Why::LastEpoch | Why::Steady(_))
    );
    if goes_on && epoch + 1 == search.spec.search.epochs {
        out!("It was the last epoch of the search.");
    } else {
        out!("The monitor's word after it: {word}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The loss along lines in alpha space, into the run directory.
fn lines(view: &RunView, search: &Search, state: &State, epoch: usize, args: &Args) -> Result<ExitCode, Exit> {
    let grid = Grid { reach: args.reach.unwrap_or(5.0), steps: 10, random: 3 };
    let found = landscape(search, state, epoch, grid, &AtomicBool::new(false))?.expect("nothing stops it");
    if !found.lines.iter().all(|line| line.losses.iter().chain([&line.slope, &line.curvature]).all(|v| v.is_finite())) {
        return Err(Exit::Failed(format!(
            "the loss around the alphas of epoch {epoch} is not finite everywhere: the search has diverged, or --reach \
             goes too far"
        )));
    }
    let written = view.add_landscape(&found);
    if let Err(e) = &written {
        say!("warning: the landscape was not added to the run directory: {e}");
    }
    if args.json {
        out!("{:#}", json!(found));
        return Ok(ExitCode::SUCCESS);
    }
    out!(
        "validation loss around the alphas after epoch {epoch}, on {} of {} images",
        measured_on(&search.spec.hessian),
        search.spec.search.batch
    );
    let head: Vec<String> = found.lines.iter().map(|line| format!("{:>20}", line.name)).collect();
    out!("{:>10} {}", "distance", head.join(" "));
    for (i, distance) in found.distances.iter().enumerate() {
        let losses: Vec<String> = found.lines.iter().map(|line| format!("{:>20.4}", line.losses[i])).collect();
        out!("{distance:>10.2} {}", losses.join(" "));
    }
    for (name, of) in
        [("slope", (|line| line.slope) as fn(&LandscapeLine) -> f64), ("curvature", |line| line.curvature)]
    {
        let values: Vec<String> = found.lines.iter().map(|line| format!("{:>20.4}", of(line))).collect();
        out!("{name:>10} {}", values.join(" "));
    }
    if diagonal(&search.spec) != 0.0 {
        out!(
            "The curvature is that of the loss alone; recorded eigenvalues have the weight decay of the alphas, {:e}, added.",
            diagonal(&search.spec)
        );
    }
    if written.is_ok() {
        out!(
            "Landscape: {} (`rdarts report {}` shows it, where its slider stands at epoch {epoch})",
            shown(view.path().join("landscapes.jsonl")),
            for_shell(view.path())
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The spectra of all whole epochs that have a checkpoint, into the run directory.
fn all_spectra(view: &RunView, spec: &SearchSpec, args: &Args, engine: Engine) -> Result<ExitCode, Exit> {
    let names = whole(view, spec)?;
    let mut search = reopen(view, args.data_dir.as_deref(), engine, args.json)?;
    let wanted = hessian_spec(&search.spec.hessian, args)?;
    search.measure_on(wanted)?;
    let (n, mut spectra) = (names.len(), Vec::new());
    for (k, name) in names.iter().enumerate() {
        let checkpoint = match view.load_checkpoint(name) {
            Ok(checkpoint) => checkpoint,
            // A search that goes on deletes what it needs no more.
            Err(e) => {
                say!("warning: epoch {} is left out: {e}", name.epoch);
                continue;
            }
        };
        let state = State::from_checkpoint(&search, &name.to_string(), checkpoint)?;
        let (values, _) = values_of(&search, &state, name.epoch)?;
        if !values.iter().all(|v| v.is_finite()) {
            say!("warning: the Hessian after epoch {} has entries that are not finite", name.epoch);
            continue;
        }
        let found = of(&search, &state, name.epoch, values);
        view.add_spectrum(&found)?;
        if !args.json {
            let [first, last] = [0, found.eigenvalues.len() - 1].map(|i| found.eigenvalues[i]);
            out!("epoch {:>4}  {first:>12.6} to {last:.6}  ({} of {n})", name.epoch, k + 1);
        }
        spectra.push(found);
    }
    if args.json {
        out!("{:#}", json!({ "directory": args.dir.display().to_string(), "spectra": spectra }));
    } else {
        out!(
            "Spectra: {} (`rdarts report {}` shows them)",
            shown(view.path().join("spectra.jsonl")),
            for_shell(view.path())
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// A spectrum as the run directory has it.
fn of(search: &Search, state: &State, epoch: usize, eigenvalues: Vec<f64>) -> Spectrum {
    let hessian = &search.spec.hessian;
    Spectrum {
        attempt: state.at.trained_attempt,
        epoch,
        mode: hessian.mode.as_str().into(),
        batches: hessian.batches,
        images: hessian.images.as_str().into(),
        eigenvalues,
    }
}

/// The images of the run's spec, or those that the flags name.
fn hessian_spec(recorded: &HessianSpec, args: &Args) -> Result<HessianSpec, Exit> {
    let mut spec = recorded.clone();
    if let Some(n) = args.batches {
        if n == 0 {
            return Err(Exit::Input("--batches is 0, but must be at least 1".into()));
        }
        spec.batches = n;
    }
    if let Some(name) = &args.images {
        let found = HessianImages::ALL.iter().find(|images| images.as_str() == name);
        spec.images = *found.ok_or_else(|| {
            Exit::Input(format!("--images is {name:?}, but must be one of {}", HessianImages::NAMES.join(", ")))
        })?;
    }
    Ok(spec)
}

/// The checkpoint at the end of an epoch.
/// Checkpoints of whole epochs, the newest last. Of a search that selects those from before its first decision: later edges are
/// no mixtures of their alphas any more.
fn whole(view: &RunView, spec: &SearchSpec) -> Result<Vec<CheckpointName>, Exit> {
    let mut whole: Vec<CheckpointName> = view.checkpoints()?.into_iter().filter(|n| n.step.is_none()).collect();
    whole.sort_by_key(|n| n.sequence);
    let there = whole.len();
    if spec.search.method.selects() {
        whole.retain(|name| name.epoch + 1 < spec.search.epochs);
    }
    match whole.is_empty() {
        false => Ok(whole),
        true if there == 0 => {
            Err(Exit::Input(format!("`{}` has no checkpoint of a whole epoch yet", shown(view.path()))))
        }
        true => Err(Exit::Input(format!(
            "`{}` has no checkpoint from before the first decision of {}, after which edges are no mixtures of their alphas: a \
             search with --set eval.keep_checkpoints=true keeps them",
            shown(view.path()),
            spec.search.method
        ))),
    }
}

fn choose(view: &RunView, spec: &SearchSpec, epoch: Option<usize>) -> Result<CheckpointName, Exit> {
    let whole = whole(view, spec)?;
    let found = match epoch {
        None => whole.last(),
        Some(epoch) => whole.iter().rev().find(|n| n.epoch == epoch),
    };
    found.cloned().ok_or_else(|| {
        let mut epochs: Vec<usize> = whole.iter().map(|n| n.epoch).collect();
        epochs.sort_unstable();
        epochs.dedup();
        let there = epochs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let wanted = epoch.map_or("any epoch".into(), |e| format!("epoch {e}"));
        let epochs_word = if epochs.len() == 1 { "epoch" } else { "epochs" };
        // Later ones are still to come, or never will.
        let was = epoch.is_some_and(|epoch| epochs.last().is_some_and(|last| epoch < *last));
        let hint = if spec.search.method.selects() {
            ", of those before its first decision"
        } else if was {
            " (a search with --set eval.keep_checkpoints=true keeps all)"
        } else {
            ""
        };
        Exit::Input(format!(
            "`{}` has no checkpoint of {wanted}, only of {epochs_word} {there}{hint}",
            shown(view.path())
        ))
    })
}

fn dominant(
    search: &Search,
    state: &State,
    epoch: usize,
    args: &Args,
    out: &mut serde_json::Value,
) -> Result<f64, Exit> {
    let tolerance = args.tolerance.unwrap_or(search.spec.hessian.tolerance);
    let curvature = eigenvalue(search, state, epoch, tolerance, &AtomicBool::new(false))?;
    let Curvature { dominant: found, error } = curvature.expect("nothing stops it");
    out["eigenvalue"] = json!(found.value);
    out["bound"] = json!(found.bound);
    out["products"] = json!(found.n_products);
    out["standard_error"] = json!(error);
    if !args.json {
        out!(
            "dominant eigenvalue  {:.6} +- {:.1e} (Lanczos, {} Hessian-vector products)",
            found.value,
            found.bound,
            found.n_products
        );
        match error {
            Some(error) => out!("standard error over the batches {error:.1e}"),
            None => {
                let more = search.most_hessian_batches().min(16);
                let hint = if more > 1 { format!(" (--batches {more} does)") } else { String::new() };
                out!("one batch: nothing says how far it would move on other images{hint}");
            }
        }
    }
    Ok(found.value)
}

/// The eigenvalues, the largest first, and the matrix.
fn values_of(search: &Search, state: &State, epoch: usize) -> Result<(Vec<f64>, FullHessian), Exit> {
    let never = AtomicBool::new(false);
    let hessian = MeanHessian::after_epoch(search, state, epoch, &never)?.expect("nothing stops it");
    let mut matrix = hessian.full().expect("nothing stops it");
    for i in 0..matrix.n {
        matrix.values[i * matrix.n + i] += diagonal(&search.spec);
    }
    Ok((spectrum(matrix.n, &matrix.values), matrix))
}

fn full(search: &Search, state: &State, epoch: usize, args: &Args, out: &mut serde_json::Value) -> Result<f64, Exit> {
    let (values, matrix) = values_of(search, state, epoch)?;
    let rows: Vec<&[f64]> = matrix.values.chunks(matrix.n).collect();
    out["eigenvalue"] = json!(values[0]);
    out["spectrum"] = json!(values);
    out["hessian"] = json!(rows);
    out["asymmetry"] = json!(matrix.asymmetry);
    if !args.json {
        out!("dominant eigenvalue  {:.6}", values[0]);
        out!("asymmetry before symmetrising {:.1e} (rounding)", matrix.asymmetry);
        out!("spectrum, largest first:");
        for line in values.chunks(8) {
            out!("  {}", line.iter().map(|v| format!("{v:>10.3e}")).collect::<Vec<_>>().join(" "));
        }
    }
    Ok(values[0])
}

/// Where a value lies among those measured.
fn place(trajectory: &[Point], epoch: usize, value: f64) -> String {
    if let [only] = trajectory
        && only.epoch == epoch
    {
        return format!("Epoch {}: the only measurement, {:.4}.", only.epoch, only.value);
    }
    let larger = trajectory.iter().filter(|p| p.value > value * (1.0 + 1e-9)).count();
    let highest = trajectory.iter().map(|p| p.value).fold(f64::NEG_INFINITY, f64::max);
    let lowest = trajectory.iter().map(|p| p.value).fold(f64::INFINITY, f64::min);
    format!(
        "Epoch {epoch}: of {} measurements, from {lowest:.4} to {highest:.4}, {larger} {} larger.",
        trajectory.len(),
        if larger == 1 { "is" } else { "are" }
    )
}
