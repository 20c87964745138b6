//! How a cluster is asked: section `[slurm]` of a plan.

use toml::{Table, Value};

use super::written::Written;
use crate::SweepError;

/// What a task of the array needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slurm {
    /// The partition; that of the cluster's default if none is named.
    pub partition: Option<String>,
    /// The account that pays.
    pub account: Option<String>,
    /// The quality of service.
    pub qos: Option<String>,
    /// The time limit of a task as Slurm writes it, and in seconds.
    pub time: Option<(String, u64)>,
    /// Memory of a task, such as `8G`.
    pub memory: Option<String>,
    /// Processors of a task, which are the threads of a member.
    pub cpus: Option<usize>,
    /// Graphics cards of a task, such as `1` or `a100:1`.
    pub gpus: Option<String>,
    /// The device that members compute on, as `--device` names it.
    pub device: Option<String>,
    /// The most tasks at one time.
    pub at_once: Option<usize>,
    /// How long before its time limit a task is told to save, in seconds.
    pub save_before: u64,
    /// Variables of the tasks' environment.
    pub environment: Vec<(String, String)>,
    /// Lines of the script before the program, such as `module load x`.
    pub setup: Vec<String>,
    /// More options of sbatch, such as `--exclude=node7`.
    pub options: Vec<String>,
}

const KEYS: [&str; 13] = [
    "partition",
    "account",
    "qos",
    "time",
    "memory",
    "cpus",
    "gpus",
    "device",
    "at_once",
    "save_before",
    "environment",
    "setup",
    "options",
];

/// Long enough for the step that a member is in and for its checkpoint.
const SAVE_BEFORE: u64 = 120;

/// How much too early Slurm may send the signal of a time limit, in seconds, by its manual.
const EARLY: u64 = 60;

/// The least that a task works before it is told to save, in seconds.
const WORK: u64 = 60;

impl Slurm {
    pub(super) fn parse(plan: &Written<'_>, table: &Table) -> Result<Slurm, SweepError> {
        let section = plan.section(table, "slurm", &KEYS)?;
        let word = |key: &str| -> Result<Option<String>, SweepError> {
            let key = format!("slurm.{key}");
            match plan.text(table, &key)? {
                Some(text)
                    if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic() && !"\"'\\#".contains(c)) =>
                {
                    Err(plan.at(&key, format!("`{key}` must be one word of Slurm")))
                }
                text => Ok(text),
            }
        };
        let time = match word("time")? {
            None => None,
            Some(text) => match seconds(&text) {
                Some(seconds) if seconds < EARLY + 2 * WORK => {
                    let why = "Slurm tells a task up to a minute too early to save, and little would be done before";
                    return Err(plan.at("slurm.time", format!("`slurm.time` must be 3 minutes or more: {why}")));
                }
                Some(seconds) => Some((text, seconds)),
                None => {
                    let wanted =
                        "minutes, hours:minutes:seconds or days-hours, such as \"90\", \"12:00:00\" or \"2-12\"";
                    return Err(plan.at("slurm.time", format!("`slurm.time` must be a time limit of Slurm: {wanted}")));
                }
            },
        };
        let memory = word("memory")?;
        if let Some(text) = &memory {
            let number = text.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or(text);
            if !number.parse::<u64>().is_ok_and(|n| n > 0) {
                let wanted = "a whole number of megabytes, or one with K, M, G or T, such as \"8G\"";
                return Err(plan.at("slurm.memory", format!("`slurm.memory` must be {wanted}")));
            }
        }
        let gpus = match section.get("gpus") {
            Some(Value::Integer(_)) => {
                // None is as good as no key.
                plan.whole_number(table, "slurm.gpus", 0, 64)?.filter(|n| *n > 0).map(|n| n.to_string())
            }
            _ => word("gpus")?,
        };
        let device = word("device")?;
        if let Some(device) = &device
            && !(device == "cpu"
                || device == "gpu"
                || device.strip_prefix("gpu:").is_some_and(|n| n.parse::<usize>().is_ok()))
        {
            return Err(plan.at("slurm.device", "`slurm.device` must be cpu, gpu, or gpu:1 for the second card".into()));
        }
        let limit = time.as_ref().map(|(_, seconds)| *seconds);
        let save_before = match plan.whole_number(table, "slurm.save_before", 1, 86_400)? {
            Some(asked) if limit.is_some_and(|limit| asked + EARLY + WORK > limit) => {
                let most = limit.unwrap_or(0) - EARLY - WORK;
                return Err(plan.at(
                    "slurm.save_before",
                    format!(
                        "`slurm.save_before` is {asked} s, but with this time limit must be {most} s or less: Slurm tells a task up to a minute too early to save"
                    ),
                ));
            }
            Some(asked) => asked,
            None => limit.map_or(SAVE_BEFORE, |limit| SAVE_BEFORE.min((limit - EARLY) / 2)),
        };
        let mut environment = Vec::new();
        if let Some(value) = section.get("environment") {
            let Value::Table(variables) = value else {
                return Err(plan.at("slurm.environment", "`slurm.environment` must be a section of variables".into()));
            };
            for name in plan.in_order(variables, "slurm.environment") {
                let key = format!("slurm.environment.{name}");
                let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
                    && !name.is_empty()
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                match variables.get(&name).and_then(Value::as_str) {
                    Some(value) if is_name && !value.contains('\0') => environment.push((name, value.to_string())),
                    Some(_) if !is_name => {
                        return Err(plan.at(&key, "names of variables are letters, digits and `_`".into()));
                    }
                    _ => return Err(plan.at(&key, format!("`{key}` must be a text in quotes"))),
                }
            }
        }
        let setup = plan.texts(table, "slurm.setup")?;
        let options = plan.texts(table, "slurm.options")?;
        let taken = [
            "--array",
            "-a",
            "--signal",
            "--requeue",
            "--no-requeue",
            "--parsable",
            "--output",
            "-o",
            "--wrap",
            "--time",
            "-t",
        ];
        for option in &options {
            let name = option.split('=').next().unwrap_or_default();
            if taken.contains(&name) {
                return Err(
                    plan.at("slurm.options", format!("`slurm.options` has {name}, which the sweep sets itself"))
                );
            }
            if !option.starts_with('-') {
                let wanted = "each of `slurm.options` must be one option of sbatch, such as \"--exclude=node7\"";
                return Err(plan.at("slurm.options", wanted.into()));
            }
        }
        Ok(Slurm {
            partition: word("partition")?,
            account: word("account")?,
            qos: word("qos")?,
            time,
            memory,
            cpus: plan.whole_number(table, "slurm.cpus", 1, 1024)?.map(|n| n as usize),
            gpus,
            device,
            at_once: plan.whole_number(table, "slurm.at_once", 1, 1_000_000)?.map(|n| n as usize),
            save_before,
            environment,
            setup,
            options,
        })
    }
}

/// A time limit in the forms of Slurm, in seconds: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S.
fn seconds(text: &str) -> Option<u64> {
    let number = |text: &str| text.parse::<u64>().ok().filter(|n| *n < 1_000_000 && !text.starts_with('+'));
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(number(days)?), rest),
        None => (None, text),
    };
    let parts = rest.split(':').map(number).collect::<Option<Vec<u64>>>()?;
    let (h, m, s) = match (days, &parts[..]) {
        (None, [m]) => (0, *m, 0),
        (None, [m, s]) => (0, *m, *s),
        (Some(_), [h]) => (*h, 0, 0),
        (Some(_), [h, m]) => (*h, *m, 0),
        (_, [h, m, s]) => (*h, *m, *s),
        _ => return None,
    };
    Some(86_400 * days.unwrap_or(0) + 3600 * h + 60 * m + s).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_are_read_in_all_forms_of_slurm() {
        let rows = [
            ("90", 5400),
            ("1:30", 90),
            ("12:00:00", 43_200),
            ("2-12", 216_000),
            ("1-0:30", 88_200),
            ("1-00:00:05", 86_405),
        ];
        for (text, expected) in rows {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for wrong in ["", "0", "-1", "1h", "1:2:3:4", "UNLIMITED", "1-", "+5", "99999999999"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
