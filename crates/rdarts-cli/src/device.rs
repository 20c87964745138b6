//! What computes: the CPU, or a graphics card that was found to compute right.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::OnceLock;

use rdarts_data::shown;
use rdarts_kernels::Isa;
use rdarts_net::Engine;
use rdarts_net::contract::{Compared, compare, compare_layers, subjects};
use rdarts_net::devices::{Gpu, HAS_GPUS, gpus};
use rdarts_net::engine::text_of;
use serde_json::{Value, json};

use crate::exit::{Exit, say};

/// The device of a verb.
#[derive(clap::Args)]
pub struct OnDevice {
    /// What computes: cpu, gpu, or gpu:1 for the second graphics card of `rdarts devices`
    #[arg(long, value_name = "DEVICE", value_parser = choice)]
    device: Option<Choice>,
}

/// A device, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The CPU.
    Cpu,
    /// The card with this number.
    Gpu(usize),
}

/// Reads `cpu`, `gpu` or `gpu:1`.
pub fn choice(text: &str) -> Result<Choice, String> {
    let number = match text {
        "cpu" => return Ok(Choice::Cpu),
        "gpu" => Some(0),
        _ => text.strip_prefix("gpu:").and_then(|number| number.parse().ok()),
    };
    number.map(Choice::Gpu).ok_or_else(|| "cpu, gpu, or gpu:1 for the second graphics card".to_string())
}

impl OnDevice {
    /// What was asked for, else the CPU.
    ///
    /// # Errors
    /// One sentence if the device cannot be used or computes wrong.
    pub fn engine(&self) -> Result<Engine, Exit> {
        self.engine_or("cpu")
    }

    /// What was asked for, else what a run was computed on before.
    ///
    /// # Errors
    /// As for `engine`.
    pub fn engine_or(&self, before: &str) -> Result<Engine, Exit> {
        // A run on the CPU asks no driver.
        let before_choice = || if before == "cpu" { Choice::Cpu } else { recorded(before, &gpus()) };
        match self.device.unwrap_or_else(before_choice) {
            Choice::Cpu => Ok(Engine::cpu_with(isa()?)),
            Choice::Gpu(_) if !HAS_GPUS && self.device.is_none() => Err(Exit::Input(format!(
                "this run was computed on a graphics card ({before}), and {NOT_BUILT}; --device cpu goes on with it here"
            ))),
            asked @ Choice::Gpu(number) => is_there(asked).and_then(|()| trusted(&found(number)?)),
        }
    }
}

/// Whether what is asked for is there, for those whose work is done by other processes.
///
/// # Errors
/// One sentence if it is not.
pub fn is_there(asked: Choice) -> Result<(), Exit> {
    match asked {
        Choice::Cpu => Ok(()),
        Choice::Gpu(_) if !HAS_GPUS => Err(Exit::Input(format!("--device gpu: {NOT_BUILT}"))),
        Choice::Gpu(number) => found(number).map(|_| ()),
    }
}

/// What a run was computed on before, as it wrote it down: the card of that name, wherever it stands in the list now, else
/// the one in its place.
fn recorded(before: &str, gpus: &[Gpu]) -> Choice {
    let (place, name) = before.split_once(" (").unwrap_or((before, ""));
    let name = name.strip_suffix(')').unwrap_or(name);
    let recorded = choice(place).unwrap_or(Choice::Cpu);
    let Choice::Gpu(number) = recorded else { return recorded };
    let is_it = |gpu: &&Gpu| gpu.name == name;
    let found = gpus.iter().filter(is_it).find(|gpu| gpu.number == number).or_else(|| gpus.iter().find(is_it));
    Choice::Gpu(found.map_or(number, |gpu| gpu.number))
}

/// Said in a build without graphics cards.
pub const NOT_BUILT: &str =
    "this program was built without graphics cards: `cargo build --release --features gpu` builds it with them";

/// The instruction set that RDARTS_ISA names, else the fastest; an unknown name is refused.
pub fn isa() -> Result<Isa, Exit> {
    let available = Isa::available();
    let names: Vec<&str> = available.iter().map(|isa| isa.name()).collect();
    let wanted = std::env::var("RDARTS_ISA").unwrap_or_default();
    match available.iter().find(|isa| wanted.is_empty() || isa.name() == wanted) {
        Some(isa) => Ok(*isa),
        None => {
            let names = names.join(", ");
            Err(Exit::Input(format!("RDARTS_ISA is `{wanted}`, but must be one that this processor has: {names}")))
        }
    }
}

fn found(number: usize) -> Result<Gpu, Exit> {
    let gpus = gpus();
    let n = gpus.len();
    gpus.into_iter().nth(number).ok_or_else(|| {
        Exit::Input(match n {
            0 => "--device gpu: no graphics card with a driver for Vulkan, Metal or DirectX 12 was found".into(),
            1 => format!("--device gpu:{number}: there is one graphics card, gpu:0"),
            n => format!("--device gpu:{number}: there are {n} graphics cards, gpu:0 to gpu:{}", n - 1),
        })
    })
}

/// A card that computes right, checked once for every driver and version of the program.
fn trusted(gpu: &Gpu) -> Result<Engine, Exit> {
    let verdict = match Verdict::kept(gpu) {
        Some(verdict) => verdict,
        None => {
            say!("checking once that {} computes right", described(gpu));
            let verdict = aside(|| Verdict::of(gpu))?;
            verdict.keep(gpu);
            verdict
        }
    };
    if let Some(wrong) = verdict.wrong {
        return Err(Exit::Failed(format!(
            "{} is not used: {wrong}; `rdarts devices --check` tries again, --device cpu does without it",
            described(gpu)
        )));
    }
    let engine = opened(gpu).map_err(|why| Exit::Failed(format!("{} cannot be used: {why}", described(gpu))))?;
    let _ = IN_USE.set(described(gpu));
    Ok(engine)
}

/// `gpu:0 (NVIDIA H100, driver 550.1)`.
pub fn described(gpu: &Gpu) -> String {
    format!("gpu:{} ({}, driver {})", gpu.number, gpu.name, gpu.driver)
}

#[cfg(feature = "gpu")]
fn opened(gpu: &Gpu) -> Result<Engine, String> {
    Ok(Engine { kernels: Engine::cpu_with(isa().map_err(|e| e.to_string())?).kernels, ..Engine::gpu(gpu)? })
}

#[cfg(not(feature = "gpu"))]
fn opened(_: &Gpu) -> Result<Engine, String> {
    Err(NOT_BUILT.into())
}

/// The card that this process computes on, if it does.
static IN_USE: OnceLock<String> = OnceLock::new();

/// Whether this process computes on a card.
pub fn uses_card() -> bool {
    IN_USE.get().is_some()
}

/// Runs a verb; a card that fails, where no run directory stands behind the work, is an error and no panic.
///
/// # Errors
/// Those of the verb, and what the framework or the driver says.
pub fn guarded<T>(verb: impl FnOnce() -> Result<T, Exit>) -> Result<T, Exit> {
    catch_unwind(AssertUnwindSafe(verb)).unwrap_or_else(|panic| match IN_USE.get() {
        None => resume_unwind(panic),
        Some(card) => Err(Exit::Failed(format!(
            "the graphics card {card} failed ({}): --device cpu does without it; if its memory was full, fewer images at \
             once, fewer channels or fewer cells need less",
            text_of(panic.as_ref())
        ))),
    })
}

/// What kernels some work launches on a card: how many, and of each name how many and the seconds that the card itself
/// gives for them, if it tells; and how many bytes go up to the card and come down. Nothing on the CPU.
#[cfg(feature = "gpu")]
pub fn launches(engine: &Engine, work: impl FnOnce()) -> Option<Value> {
    if engine.is_cpu() {
        return None;
    }
    let rdarts_net::devices::Counted { launches: all, up, down } = rdarts_net::devices::counted(work);
    let n: usize = all.values().map(|of| of.n).sum();
    let seconds: f64 = all.values().map(|of| of.seconds).sum();
    let is_timed = all.values().any(|of| of.n_timed > 0);
    let kernels: serde_json::Map<String, Value> = all
        .into_iter()
        .map(|(name, of)| (name, json!({ "n": of.n, "seconds": (of.n_timed > 0).then_some(of.seconds) })))
        .collect();
    let seconds = is_timed.then_some(seconds);
    Some(json!({ "all": n, "seconds": seconds, "bytes_up": up, "bytes_down": down, "kernels": kernels }))
}

/// Nothing in a build without graphics cards.
#[cfg(not(feature = "gpu"))]
pub fn launches(_: &Engine, _: impl FnOnce()) -> Option<Value> {
    None
}

/// Whether a card computes right.
pub struct Verdict {
    /// What is wrong, if anything is.
    pub wrong: Option<String>,
    /// The largest error of all that was compared, in units of the largest entry of a tensor.
    pub worst: f64,
    /// How many results were compared.
    pub n: usize,
    /// Whether everything was compared, or something was wrong: a card that had no memory left may have some later.
    pub is_final: bool,
}

/// Does work in a pool of threads of its own: how many the program has is not decided yet, and its pool can be started only once.
fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Exit> {
    let pool = rayon::ThreadPoolBuilder::new().build();
    let pool = pool.map_err(|e| Exit::Failed(format!("cannot start threads that check the graphics card: {e}")))?;
    Ok(pool.install(work))
}

impl Verdict {
    /// Compares every operation on the card with double precision on the CPU.
    pub fn of(gpu: &Gpu) -> Self {
        let engine = match opened(gpu) {
            Ok(engine) => engine,
            Err(why) => {
                let wrong = Some(format!("it cannot be opened: {why}"));
                return Self { wrong, worst: f64::NAN, n: 0, is_final: false };
            }
        };
        let mut verdict = Self { wrong: None, worst: 0.0, n: 0, is_final: true };
        let all = subjects();
        // A network of layers is one of disparity.
        let works = all
            .iter()
            .map(|subject| (subject.operation(), Some(subject)))
            .chain(std::iter::once(("the layers of networks for disparity", None)));
        for (name, subject) in works {
            let compared = engine.guarded(|| match subject {
                Some(subject) => compare(subject, &engine),
                None => compare_layers(&engine),
            });
            let compared: Vec<Compared> = match compared {
                Ok(compared) => compared,
                Err(why) => {
                    verdict.wrong = Some(format!("it fails at {name}: {why}"));
                    verdict.is_final = false;
                    return verdict;
                }
            };
            verdict.n += compared.len();
            verdict.worst = compared.iter().map(|one| one.error).fold(verdict.worst, f64::max);
            if let Some(one) = compared.iter().find(|one| !one.holds()) {
                let how = match one.error.is_finite() {
                    true => format!("off by {:.0e} of its largest entry", one.error),
                    false => "no finite number".into(),
                };
                verdict.wrong = Some(format!("it computes {} wrong ({} is {how})", one.operation, one.what));
                return verdict;
            }
        }
        verdict
    }

    /// The verdict of an earlier check of this card with this driver by this version.
    pub fn kept(gpu: &Gpu) -> Option<Self> {
        let all = read_kept()?;
        let entry = all.iter().find(|entry| entry["card"] == key(gpu))?;
        Some(Self {
            wrong: entry["wrong"].as_str().map(Into::into),
            worst: entry["worst"].as_f64().unwrap_or(f64::NAN),
            n: entry["compared"].as_u64()? as usize,
            is_final: true,
        })
    }

    /// Writes it down for the next time; where that is not possible, the next time checks again.
    pub fn keep(&self, gpu: &Gpu) {
        let Some(path) = kept_at().filter(|_| self.is_final) else { return };
        let mut all = read_kept().unwrap_or_default();
        all.retain(|entry| entry["card"] != key(gpu));
        all.push(json!({ "card": key(gpu), "wrong": self.wrong, "worst": self.worst, "compared": self.n }));
        let text = format!("{:#}\n", Value::Array(all));
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            let half = path.with_extension(format!("json.{}", std::process::id()));
            std::fs::write(&half, text).and_then(|()| std::fs::rename(&half, &path))
        });
        if let Err(e) = written {
            say!("warning: cannot write `{}` ({e}): the card is checked again the next time", shown(&path));
        }
    }
}

/// What a verdict is about.
fn key(gpu: &Gpu) -> Value {
    json!([gpu.name, gpu.bus, gpu.driver, gpu.interface, env!("CARGO_PKG_VERSION")])
}

fn kept_at() -> Option<PathBuf> {
    dirs::cache_dir().map(|dir| dir.join("rdarts").join("devices.json"))
}

fn read_kept() -> Option<Vec<Value>> {
    serde_json::from_slice(&std::fs::read(kept_at()?).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_on_the_card_that_it_began_on() {
        let card = |number: usize, name: &str| Gpu {
            number,
            name: name.into(),
            kind: rdarts_net::devices::GpuKind::Discrete,
            driver: String::new(),
            interface: String::new(),
            bus: String::new(),
            memory: None,
            at: number,
        };
        let cards = [card(0, "Large"), card(1, "Small (old)"), card(2, "Large")];
        for (before, now) in [("gpu:0 (Large)", 0), ("gpu:2 (Large)", 2), ("gpu:0 (Small (old))", 1), ("gpu:1", 1)] {
            assert_eq!(recorded(before, &cards), Choice::Gpu(now), "{before}");
        }
        assert_eq!(recorded("gpu:5 (Gone)", &cards), Choice::Gpu(5));
        assert_eq!(recorded("cpu", &cards), Choice::Cpu);
    }

    #[test]
    fn devices_are_read_by_name_and_number() {
        assert_eq!(
            [choice("cpu"), choice("gpu"), choice("gpu:3")],
            [Ok(Choice::Cpu), Ok(Choice::Gpu(0)), Ok(Choice::Gpu(3))]
        );
        for wrong in ["", "GPU", "gpu:", "gpu:-1", "gpu:x", "cuda", "gpu:0:1"] {
            assert!(choice(wrong).is_err(), "{wrong}");
        }
    }
}
