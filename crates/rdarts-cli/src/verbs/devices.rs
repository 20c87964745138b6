//! `rdarts devices`: what can compute here, and whether it computes right.

use std::process::ExitCode;

use rdarts_kernels::Isa;
use rdarts_net::devices::{Gpu, HAS_GPUS, gpus};
use rdarts_run::Environment;
use serde_json::{Value, json};

use crate::device::{NOT_BUILT, Verdict, isa};
use crate::exit::{Exit, out};

/// What can compute here: the CPU and graphics cards, their memory, and whether they compute right
///
/// A card is checked before its first run: value and derivatives of every operation
/// are compared with the CPU's on small shapes, in seconds. What came out is kept
/// until the driver or the program changes.
///
/// Examples:
///   rdarts devices --check
///   rdarts search --preset demo --device gpu
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Check all cards now
    #[arg(long)]
    check: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let isa = isa()?;
    let gpus = gpus();
    let verdicts: Vec<Option<Verdict>> = gpus
        .iter()
        .map(|gpu| {
            if !args.check {
                return Verdict::kept(gpu);
            }
            let verdict = Verdict::of(gpu);
            verdict.keep(gpu);
            Some(verdict)
        })
        .collect();
    let is_sound = verdicts.iter().flatten().all(|verdict| verdict.wrong.is_none());
    if args.json {
        out!("{}", as_json(isa, &gpus, &verdicts));
    } else {
        tell(isa, &gpus, &verdicts);
    }
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(isa: Isa, gpus: &[Gpu], verdicts: &[Option<Verdict>]) {
    let here = Environment::detect(threads(), isa.name(), "cpu".into());
    let memory = rdarts_data::available_memory().map_or_else(String::new, |bytes| format!(", {} free", gib(bytes)));
    out!("cpu    {}, {} threads, {}{memory}", here.cpu, here.threads, isa.name());
    for (gpu, verdict) in gpus.iter().zip(verdicts) {
        let memory = gpu.memory.map_or("memory unknown".into(), gib);
        let software = if gpu.kind == rdarts_net::devices::GpuKind::Software { " on the processor" } else { "" };
        out!(
            "gpu:{}  {} ({}{software}), {memory}, {} with driver {}",
            gpu.number,
            gpu.name,
            gpu.kind,
            gpu.interface,
            gpu.driver
        );
        out!(
            "       {}",
            match verdict {
                None => "not checked yet: the first run on it checks it, or `rdarts devices --check`".into(),
                Some(Verdict { wrong: Some(wrong), .. }) => format!("not used: {wrong}"),
                Some(Verdict { worst, n, .. }) => format!(
                    "computes right: {n} results of all operations, the largest error {worst:.0e} of the largest entry"
                ),
            }
        );
    }
    if !HAS_GPUS {
        out!("Graphics cards are not listed: {NOT_BUILT}.");
    } else if gpus.is_empty() {
        out!("No graphics card with a driver for Vulkan, Metal or DirectX 12 was found.");
    }
}

fn as_json(isa: Isa, gpus: &[Gpu], verdicts: &[Option<Verdict>]) -> Value {
    let here = Environment::detect(threads(), isa.name(), "cpu".into());
    let cards: Vec<Value> = gpus
        .iter()
        .zip(verdicts)
        .map(|(gpu, verdict)| {
            json!({
                "device": format!("gpu:{}", gpu.number), "name": gpu.name, "kind": gpu.kind.to_string(),
                "memory": gpu.memory, "interface": gpu.interface, "driver": gpu.driver,
                "checked": verdict.as_ref().map(|verdict| {
                    json!({ "wrong": verdict.wrong, "worst": verdict.worst, "compared": verdict.n })
                }),
            })
        })
        .collect();
    json!({
        "cpu": { "name": here.cpu, "threads": here.threads, "isa": here.isa, "free": rdarts_data::available_memory() },
        "gpus": cards, "built_for_gpus": HAS_GPUS,
    })
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}
