//! The runs that a plan stands for: their names, their specs, and the command lines that begin them and go on with them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use rdarts_run::spec::Origin;
use rdarts_run::{
    DataSets, DisparityRobustSpec, DisparitySearchSpec, DisparityTrainSpec, RobustSpec, SearchSpec, Spec, SpecError,
    TrainSpec,
};
use rdarts_text::quote;
use toml::Value;

use crate::SweepError;
use crate::plan::{Axis, Kind, Plan, Setting};

/// A run of a sweep, or one of the processes that build a table.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its place in the plan from 1, which is its number in an array.
    pub number: usize,
    /// Unique, and right as the name of a file.
    pub name: String,
    /// The run that it belongs to: its own name, but for the processes that build one table.
    pub run: String,
    /// What it has of the plan: what all members have, then what it differs in.
    pub settings: Vec<Setting>,
    /// Its complete spec as TOML; data may be completed from images when it begins.
    pub spec: String,
}

/// What a member computes with.
#[derive(Clone, Debug, Default)]
pub struct Hands {
    /// Its threads.
    pub threads: Option<usize>,
    /// Its device, as `--device` names it.
    pub device: Option<String>,
}

/// All members of a plan, each with a spec that was found right; the seeds change last.
///
/// # Errors
/// One sentence with the line of the plan: too many members, names that collide, a key or a value that is not right, two
/// members that are the same.
pub fn members(plan: &Plan, sets: &dyn DataSets) -> Result<Vec<Member>, SweepError> {
    let n = plan.axes.iter().try_fold(plan.workers, |n, axis| n.checked_mul(axis.rows.len()));
    let n = match n {
        Some(n) if n <= plan.max_members => n,
        n => {
            let n = n.map_or("more than can be counted".to_string(), |n| n.to_string());
            return Err(whole(
                plan,
                format!("the plan has {n} members, and the most is {}: `max_members` raises that", plan.max_members),
            ));
        }
    };
    let names_network = |s: &Setting| s.key == "network.genotype";
    let mut firsts = plan.set.iter().chain(plan.axes.iter().flat_map(|axis| &axis.rows[0]));
    if plan.kind.is_of_networks() && plan.base.is_none() && !firsts.any(names_network) {
        return Err(whole(plan, "a plan of trainings needs `network.genotype`, a genotype or what `rdarts train` takes for one, or a `spec`".to_string()));
    }
    let labels: Vec<Vec<String>> = plan.axes.iter().map(|axis| labels(axis, plan)).collect();
    let mut all: Vec<Member> = Vec::with_capacity(n);
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    let mut by_spec: BTreeMap<String, usize> = BTreeMap::new();
    for i in 0..n / plan.workers {
        // The first axis changes last.
        let (mut rest, mut rows) = (i, vec![0; plan.axes.len()]);
        for (row, axis) in rows.iter_mut().zip(&plan.axes).rev() {
            (*row, rest) = (rest % axis.rows.len(), rest / axis.rows.len());
        }
        let own = rows.iter().zip(&plan.axes).flat_map(|(row, axis)| axis.rows[*row].clone());
        let settings: Vec<Setting> = plan.set.iter().cloned().chain(own).collect();
        // The seed, whose axis is the first, stands at the end of a name.
        let mut parts: Vec<&str> = rows.iter().zip(&labels).map(|(row, labels)| labels[*row].as_str()).collect();
        if plan.axes.first().is_some_and(|axis| axis.rows[0][0].key == "seed") {
            parts.rotate_left(1);
        }
        let run = if parts.is_empty() { plan.kind.name().to_string() } else { parts.join("_") };
        if run.len() > MOST_NAME {
            return Err(whole(
                plan,
                format!("the name {} is longer than {MOST_NAME} letters: give rows of [list] a `name`", quote(&run)),
            ));
        }
        if let Some(other) = by_name.insert(run.to_lowercase(), i) {
            return Err(whole(
                plan,
                format!(
                    "the members {} and {} would both be called {}: give rows of [list] a `name`",
                    other + 1,
                    i + 1,
                    quote(&run)
                ),
            ));
        }
        let spec = resolve(plan, &run, &settings, sets)?;
        if let Some(other) = by_spec.insert(format!("{}{spec}", plan.space.as_deref().unwrap_or("")), i) {
            let other = &all[other * plan.workers].run;
            return Err(whole(plan, format!("the members `{other}` and `{run}` are the same run")));
        }
        for worker in 1..=plan.workers {
            let name = if plan.workers > 1 { format!("{run}_{worker}") } else { run.clone() };
            let (run, settings, spec) = (run.clone(), settings.clone(), spec.clone());
            all.push(Member { number: all.len() + 1, name, run, settings, spec });
        }
    }
    Ok(all)
}

/// File systems allow 255 bytes, and a log has an ending.
const MOST_NAME: usize = 200;

/// What the rows of an axis are called.
fn labels(axis: &Axis, plan: &Plan) -> Vec<String> {
    if let Some(names) = &axis.names {
        return names.clone();
    }
    let keys: Vec<&str> = plan.axes.iter().flat_map(|axis| &axis.rows[0]).map(|s| s.key.as_str()).collect();
    let label = |row: &Vec<Setting>| row.iter().map(|s| label(s, &keys)).collect::<Vec<_>>().join("_");
    let labels: Vec<String> = axis.rows.iter().map(label).collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    labels.iter().for_each(|label| *counts.entry(label.to_lowercase()).or_default() += 1);
    let numbered = |(i, label): (usize, String)| match counts[&label.to_lowercase()] {
        1 => label,
        _ => format!("{label}-{}", i + 1),
    };
    labels.into_iter().enumerate().map(numbered).collect()
}

/// A text says by itself what it is; a number, true or false needs its key.
fn label(setting: &Setting, keys: &[&str]) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_string();
    let short = last(&setting.key);
    let key = match keys.iter().filter(|key| last(key) == short).count() {
        1 => short,
        _ => setting.key.clone(),
    };
    match &setting.value {
        Value::String(text) => {
            let path = Path::new(text);
            let stem = path.file_stem().filter(|_| text.contains('/') || text.ends_with(".toml"));
            match slug(&stem.map_or(text.clone(), |stem| stem.to_string_lossy().into_owned())) {
                empty if empty.is_empty() => format!("{key}="),
                label => label,
            }
        }
        Value::Array(values) if values.is_empty() => format!("{key}=empty"),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(|value| slug(&value.to_string())).collect();
            format!("{key}={}", slug(&values.join("+")))
        }
        value => format!("{key}={}", slug(&value.to_string())),
    }
}

/// What is left of a text in the name of a file.
fn slug(text: &str) -> String {
    let plain: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || ".-+".contains(c) { c } else { '-' }).collect();
    let begun = plain.trim_matches(['-', '.', '+']);
    // A negative number keeps its sign behind the key.
    let begun =
        if text.starts_with('-') && text[1..].starts_with(|c: char| c.is_ascii_digit()) { &plain } else { begun };
    begun.chars().take(24).collect()
}

/// `key=value`, as `--set` takes it.
fn override_of(setting: &Setting) -> String {
    let value = match &setting.value {
        // JSON's escapes are TOML's, but TOML wants one more letter escaped; and an override is one line.
        Value::String(text) => serde_json::Value::from(text.as_str()).to_string().replace('\u{7f}', "\\u007f"),
        value => value.to_string(),
    };
    format!("{}={value}", setting.key)
}

impl Member {
    /// What it has of the plan, as `--set` takes it.
    pub fn overrides(&self) -> Vec<String> {
        self.settings.iter().map(override_of).collect()
    }
}

impl Plan {
    /// The preset that members name; none if they have a spec file, which names its own.
    fn preset_named(&self) -> Option<&str> {
        self.preset.as_deref().or(if self.base.is_none() { Some(self.kind.demo()) } else { None })
    }
}

/// The complete spec of a member as TOML.
fn resolve(plan: &Plan, name: &str, settings: &[Setting], sets: &dyn DataSets) -> Result<String, SweepError> {
    let mut overrides: Vec<String> = settings.iter().map(override_of).collect();
    if plan.kind == Kind::Table {
        // Only the table knows them.
        overrides.extend([format!("network.genotype={:?}", rdarts_table::EACH), "seed=0".to_string()]);
    }
    let base = plan.base.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    fn text<S: Spec>(
        preset: Option<&str>,
        base: Option<(&str, &str)>,
        overrides: &[String],
        sets: &dyn DataSets,
    ) -> Result<String, SpecError> {
        Ok(S::resolve_text(preset, base, overrides, sets)?.to_toml())
    }
    let preset = plan.preset_named();
    let resolved = match plan.kind {
        Kind::Search => text::<SearchSpec>(preset, base, &overrides, sets),
        Kind::Robust => text::<RobustSpec>(preset, base, &overrides, sets),
        Kind::Train | Kind::Table => text::<TrainSpec>(preset, base, &overrides, sets),
        Kind::DisparitySearch => text::<DisparitySearchSpec>(preset, base, &overrides, sets),
        Kind::DisparityTraining => text::<DisparityTrainSpec>(preset, base, &overrides, sets),
        Kind::DisparityRobust => text::<DisparityRobustSpec>(preset, base, &overrides, sets),
    };
    resolved.map_err(|e| {
        let line = |text: &str| {
            let written = settings.iter().find(|s| override_of(s) == text)?;
            Some(Origin::Line(plan.file.clone(), written.line))
        };
        match e.of_overrides(line) {
            // Its place is known.
            e if e.is_of_line() => SweepError::Spec(e),
            e if matches!(e, SpecError::BadValue { origin: Origin::Argument, .. }) => {
                let line = 1 + plan.text.lines().position(|line| line.trim_start().starts_with("preset")).unwrap_or(0);
                let problem = e.to_string().replace("--preset: ", "");
                SweepError::Line { file: plan.file.clone(), line, problem }
            }
            e => whole(plan, format!("member `{name}`: {e}")),
        }
    })
}

/// The nearest of the names as a clause of a message, or nothing.
pub fn nearest(name: &str, names: &[&str]) -> String {
    rdarts_text::did_you_mean(rdarts_text::nearest(name, names))
}

fn whole(plan: &Plan, problem: String) -> SweepError {
    SweepError::Plan { file: plan.file.clone(), problem }
}

/// The arguments of the program that begin a member at a path: a run directory, or the file of a table. `base` is the file
/// of the plan's spec.
pub fn begin(plan: &Plan, member: &Member, path: &Path, base: &Path, hands: &Hands) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    let mut settings = member.settings.clone();
    args.push(plan.kind.verb().into());
    if matches!(plan.kind, Kind::DisparitySearch | Kind::DisparityRobust) {
        args.push("--task=disparity".into());
    }
    match plan.kind {
        Kind::Table => {
            args.push("build".into());
            // What is begun already is gone on with, and says all that a new one is told.
            if let Some(space) = &plan.space {
                args.push(format!("--space={space}").into());
            }
            if !plan.table_seeds.is_empty() {
                let seeds: Vec<String> = plan.table_seeds.iter().map(u64::to_string).collect();
                args.push(format!("--seeds={}", seeds.join(",")).into());
            }
        }
        _ if plan.base.is_some() => args.push(base.into()),
        Kind::Train | Kind::DisparityTraining => {
            // The verb takes the network by whatever name; its spec takes a genotype.
            let at = settings.iter().position(|s| s.key == "network.genotype");
            if let Some(Value::String(network)) = at.map(|at| settings.remove(at).value) {
                args.push(network.into());
            }
            // Names such as all-skip are known to both tasks.
            if plan.kind == Kind::DisparityTraining {
                args.push("--task=disparity".into());
            }
        }
        _ => {}
    }
    // A table that is there has all its settings already.
    if let Some(preset) = plan.preset.as_ref().filter(|_| !(plan.kind == Kind::Table && path.exists())) {
        args.push(format!("--preset={preset}").into());
    }
    args.extend(settings.iter().map(|setting| format!("--set={}", override_of(setting)).into()));
    args.extend(["--out".into(), path.into()]);
    with_hands(args, plan, hands)
}

/// The arguments that go on with a member.
pub fn go_on(plan: &Plan, member: &Member, path: &Path, base: &Path, hands: &Hands) -> Vec<OsString> {
    match plan.kind {
        Kind::Table => begin(plan, member, path, base, hands),
        _ => with_hands(vec!["resume".into(), path.into()], plan, hands),
    }
}

fn with_hands(mut args: Vec<OsString>, plan: &Plan, hands: &Hands) -> Vec<OsString> {
    if let Some(threads) = hands.threads {
        args.push(format!("--threads={threads}").into());
    }
    if let Some(device) = &hands.device {
        args.push(format!("--device={device}").into());
    }
    if plan.jobs > 1 {
        args.push(format!("--jobs={}", plan.jobs).into());
    }
    args
}

#[cfg(test)]
mod tests;
