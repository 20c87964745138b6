//! The plan of a sweep: one TOML file.
//!
//! ```toml
//! kind = "search"                  # search, train, robust, table, disparity-search or disparity-training
//! preset = "demo"                  # and `spec`, a file of that kind: what the members have in common
//! seeds = 3                        # 1, 2 and 3, or a list such as [1, 7]
//!
//! [set]                            # keys of the spec that all members have
//! data.limit = 96
//!
//! [grid]                           # every combination of these lists
//! search.method = ["darts", "darts-ada"]
//!
//! [list]                           # lists of one length, gone through together: here two rows
//! network.channels = [8, 16]
//! network.cells = [5, 8]
//! name = ["small", "large"]        # what the rows are called, if not by their values
//!
//! [slurm]
//! partition = "cpu"
//! time = "12:00:00"
//! ```
//!
//! Keys of specs may be written in sections or with dots. Every value keeps its line, so that what is wrong with a member
//! is told where it was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rdarts_run::read_text;
use rdarts_text::{did_you_mean, escaped, nearest, quote, shown};
use toml::de::DeTable;
use toml::{Table, Value};

use crate::SweepError;

pub mod slurm;

mod written;

pub use slurm::Slurm;
use written::Written;

/// The kinds of runs that a sweep is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Searches.
    Search,
    /// Trainings.
    Train,
    /// Portfolios; the runs within one go one after another in its process, or `jobs` of them side by side.
    Robust,
    /// Tables; `workers` processes build each together.
    Table,
    /// Searches for disparity.
    DisparitySearch,
    /// Trainings for disparity.
    DisparityTraining,
    /// Portfolios for disparity.
    DisparityRobust,
}

impl Kind {
    /// All of them, as plans name them.
    pub const NAMES: [&str; 7] =
        ["search", "train", "robust", "table", "disparity-search", "disparity-training", "disparity-robust"];

    const ALL: [Kind; 7] = [
        Kind::Search,
        Kind::Train,
        Kind::Robust,
        Kind::Table,
        Kind::DisparitySearch,
        Kind::DisparityTraining,
        Kind::DisparityRobust,
    ];

    /// As plans and run directories name it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The verb that begins such a run.
    pub fn verb(self) -> &'static str {
        match self {
            Kind::DisparitySearch => "search",
            Kind::DisparityTraining => "train",
            Kind::DisparityRobust => "robust",
            other => other.name(),
        }
    }

    /// Whether its members train networks that the plan names.
    pub fn is_of_networks(self) -> bool {
        matches!(self, Kind::Train | Kind::DisparityTraining)
    }

    /// The preset of a run that says nothing.
    pub fn demo(self) -> &'static str {
        match self {
            Kind::Search | Kind::Robust => "demo",
            Kind::Train | Kind::Table => "train-demo",
            Kind::DisparitySearch | Kind::DisparityRobust => "disparity-demo",
            Kind::DisparityTraining => "disparity-train-demo",
        }
    }
}

/// A plan that was read; what its keys mean to a spec is not looked at yet.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The plan as sentences call it.
    pub file: String,
    /// The plan as it is written.
    pub text: String,
    /// What its members are.
    pub kind: Kind,
    /// The preset that members start from.
    pub preset: Option<String>,
    /// The spec file that members start from: what sentences call it, and its text.
    pub base: Option<(String, String)>,
    /// The space of tables.
    pub space: Option<String>,
    /// Seeds of each table.
    pub table_seeds: Vec<u64>,
    /// The most members that there may be.
    pub max_members: usize,
    /// Threads of each member.
    pub threads: Option<usize>,
    /// Runs of a portfolio, or trainings of a table, side by side within a member.
    pub jobs: usize,
    /// Processes that build each table together.
    pub workers: usize,
    /// What all members have.
    pub set: Vec<Setting>,
    /// What members differ in, the one that changes last first.
    pub axes: Vec<Axis>,
    /// How a cluster is asked.
    pub slurm: Slurm,
}

/// A key of the spec with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The full key, such as `search.epochs`.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// The line of the plan that it stands in.
    pub line: usize,
}

/// Keys that change together.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Where it is written.
    pub line: usize,
    /// The settings of each row.
    pub rows: Vec<Vec<Setting>>,
    /// What rows are called, if the plan says so.
    pub names: Option<Vec<String>>,
}

/// Where nothing else is said: more are rather a slip than a wish.
pub const MOST_MEMBERS: usize = 1000;

const KEYS: [&str; 13] = [
    "kind",
    "preset",
    "spec",
    "space",
    "seeds",
    "max_members",
    "threads",
    "jobs",
    "workers",
    "set",
    "grid",
    "list",
    "slurm",
];

/// Reads a spec file: what it is called, and its text.
type Open<'a> = dyn Fn(&Path) -> Result<(String, String), SweepError> + 'a;

impl Plan {
    /// Reads a plan; the spec file that it names lies beside it.
    ///
    /// # Errors
    /// One sentence with the line.
    pub fn read(path: &Path) -> Result<Plan, SweepError> {
        let text = read_text("plan", path)?;
        let beside = path.parent().unwrap_or(Path::new(""));
        Plan::parse(&shown(path), text, &|spec| {
            let path = beside.join(spec);
            Ok((shown(&path), read_text("spec", &path)?))
        })
    }

    /// Takes a plan apart; `open` reads the spec file that it names.
    ///
    /// # Errors
    /// As for `read`.
    pub fn parse(file: &str, text: String, open: &Open) -> Result<Plan, SweepError> {
        let syntax = |err: toml::de::Error| {
            let line = 1 + text[..err.span().map_or(0, |span| span.start.min(text.len()))].matches('\n').count();
            let message = escaped(&err.message().lines().map(str::trim).collect::<Vec<_>>().join("; "));
            SweepError::Line { file: file.to_string(), line, problem: format!("not valid TOML: {message}") }
        };
        let table: Table = text.parse().map_err(syntax)?;
        let spanned = DeTable::parse(&text).map_err(syntax)?;
        let plan = Written::new(file, &text, spanned.get_ref());
        for key in plan.in_order(&table, "") {
            if !KEYS.contains(&key.as_str()) {
                let hint = match nearest(&key, &KEYS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!(
                        "keys of specs stand in [set], [grid] or [list], and those of a plan are {}",
                        KEYS.join(", ")
                    ),
                };
                return Err(plan.at(&key, format!("unknown key {}; {hint}", quote(&key))));
            }
        }
        let kind = match plan.text(&table, "kind")? {
            None => return Err(plan.whole(format!("the key `kind` is missing: {}", Kind::NAMES.join(", ")))),
            Some(name) => match Kind::NAMES.iter().position(|known| *known == name) {
                Some(i) => Kind::ALL[i],
                None => {
                    let near = did_you_mean(nearest(&name, &Kind::NAMES));
                    let names = Kind::NAMES.join(", ");
                    return Err(
                        plan.at("kind", format!("`kind` is {}, but must be one of {names}{near}", quote(&name)))
                    );
                }
            },
        };
        let of_kind = |key: &str, kinds: &[Kind]| match table.contains_key(key) && !kinds.contains(&kind) {
            true => {
                let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                let (kind, names) = (kind.name(), names.join(" and "));
                Err(plan.at(key, format!("`{key}` belongs to plans of kind {names}, and this one is of kind {kind}")))
            }
            false => Ok(()),
        };
        of_kind("space", &[Kind::Table])?;
        of_kind("workers", &[Kind::Table])?;
        of_kind("jobs", &[Kind::Robust, Kind::DisparityRobust, Kind::Table])?;
        let of_specs: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Table).collect();
        of_kind("spec", &of_specs)?;
        let base = match plan.text(&table, "spec")? {
            Some(name) if name.is_empty() => {
                return Err(plan.at("spec", "`spec` is empty, but must name a file".into()));
            }
            Some(name) => Some(open(&PathBuf::from(&name)).map_err(|e| plan.at("spec", e.to_string()))?),
            None => None,
        };
        let seeds = seeds(&plan, &table)?;
        let set = plan.settings(&table, "set")?;
        let mut axes = Vec::new();
        // The seeds come last, so that a sweep that is stopped early has compared everything once.
        let mut table_seeds = Vec::new();
        match kind {
            Kind::Table => table_seeds = seeds,
            _ if seeds.is_empty() => {}
            _ => {
                let line = plan.line("seeds");
                let row = |seed: &u64| vec![Setting { key: "seed".into(), value: Value::Integer(*seed as i64), line }];
                axes.push(Axis { line, rows: seeds.iter().map(row).collect(), names: None });
            }
        }
        axes.extend(listed(&plan, &table)?);
        for setting in plan.settings(&table, "grid")? {
            let values = plan.values(&setting, "grid")?;
            let row = |value| vec![Setting { value, ..setting.clone() }];
            axes.push(Axis { line: setting.line, rows: values.into_iter().map(row).collect(), names: None });
        }
        let whole = |key: &str, least: u64, most: u64| plan.whole_number(&table, key, least, most);
        let parsed = Plan {
            file: file.to_string(),
            kind,
            preset: plan.text(&table, "preset")?,
            base,
            space: plan.text(&table, "space")?,
            table_seeds,
            max_members: whole("max_members", 1, 1_000_000)?.map_or(MOST_MEMBERS, |n| n as usize),
            threads: whole("threads", 1, 1024)?.map(|n| n as usize),
            jobs: whole("jobs", 1, 64)?.map_or(1, |n| n as usize),
            workers: whole("workers", 1, 1024)?.map_or(1, |n| n as usize),
            set,
            axes,
            slurm: Slurm::parse(&plan, &table)?,
            text: text.clone(),
        };
        parsed.check_keys(&plan)?;
        Ok(parsed)
    }

    /// A key has one value in a member.
    fn check_keys(&self, plan: &Written<'_>) -> Result<(), SweepError> {
        let mut met: BTreeMap<&str, usize> = BTreeMap::new();
        let firsts = self.axes.iter().rev().flat_map(|axis| axis.rows.first().into_iter().flatten());
        for setting in self.set.iter().chain(firsts) {
            if let Some(other) = met.insert(&setting.key, setting.line) {
                let (line, other) = (setting.line.max(other), setting.line.min(other));
                let key = &setting.key;
                return Err(plan.at_line(
                    line,
                    format!("`{key}` has its values in line {other} already: leave one of the two out"),
                ));
            }
            let own = match (setting.key.as_str(), self.kind) {
                ("kind", _) => "the kind of a plan stands at its top, and is that of all members",
                ("seed", Kind::Table) => "the seeds of a table are the key `seeds` at the top of the plan",
                ("network.genotype", Kind::Table) => "a table trains every genotype of its space",
                _ => continue,
            };
            return Err(plan.at_line(setting.line, format!("`{}` cannot be set: {own}", setting.key)));
        }
        Ok(())
    }
}

/// The rows of `[list]`, if there is one.
fn listed(plan: &Written<'_>, table: &Table) -> Result<Option<Axis>, SweepError> {
    let (mut names, mut columns) = (None, Vec::new());
    for setting in plan.settings(table, "list")? {
        let values = plan.values(&setting, "list")?;
        if setting.key == "name" {
            let text = |value: &Value| value.as_str().filter(|name| is_name(name)).map(str::to_string);
            let wanted = "names of rows are texts of letters, digits and `.`, `-`, `_`, `=`, `+`, 40 at most, beginning with a letter or a digit";
            let texts = values.iter().map(text).collect::<Option<Vec<_>>>();
            names = Some((setting.line, texts.ok_or_else(|| plan.at_line(setting.line, wanted.to_string()))?));
        } else {
            columns.push((setting, values));
        }
    }
    let Some((first, length)) = columns.first().map(|(setting, values)| (setting.clone(), values.len())) else {
        return match names {
            Some((line, _)) => Err(plan.at_line(line, "`list.name` names rows, and [list] has no other key".into())),
            None => Ok(None),
        };
    };
    let lengths = columns.iter().map(|(s, values)| (s.key.as_str(), s.line, values.len()));
    let lengths = lengths.chain(names.iter().map(|(line, names)| ("name", *line, names.len())));
    for (key, line, n) in lengths {
        if n != length {
            let other = &first.key;
            return Err(plan.at_line(
                line,
                format!("the list of `{key}` has {n} values and that of `{other}` {length}: lists that go together have one length"),
            ));
        }
    }
    let row = |i: usize| columns.iter().map(|(s, values)| Setting { value: values[i].clone(), ..s.clone() }).collect();
    let rows: Vec<Vec<Setting>> = (0..length).map(row).collect();
    for (i, row) in rows.iter().enumerate() {
        let values = |row: &[Setting]| row.iter().map(|s| s.value.clone()).collect::<Vec<_>>();
        if let Some(j) = rows[..i].iter().position(|other| values(other) == values(row)) {
            return Err(plan.at_line(first.line, format!("rows {} and {} of [list] are the same", j + 1, i + 1)));
        }
    }
    Ok(Some(Axis { line: first.line, rows, names: names.map(|(_, names)| names) }))
}

/// Whether a name can be that of a file everywhere, and is no option of a command.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 40
        && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_=+".contains(c))
}

/// `seeds = 3` or `seeds = [1, 7]`; none if it is not there.
fn seeds(plan: &Written<'_>, table: &Table) -> Result<Vec<u64>, SweepError> {
    let wanted =
        "`seeds` must be a number of seeds, such as 3 for 1, 2 and 3, or a list of whole numbers, such as [1, 7]";
    let refused = |what: &str| plan.at("seeds", format!("{what}{wanted}"));
    let seeds: Vec<u64> = match table.get("seeds") {
        None => return Ok(Vec::new()),
        Some(Value::Integer(n)) if (1..=1_000_000).contains(n) => (1..=*n as u64).collect(),
        Some(Value::Array(values)) if !values.is_empty() => {
            let seed = |value: &Value| value.as_integer().and_then(|seed| u64::try_from(seed).ok());
            values.iter().map(seed).collect::<Option<_>>().ok_or_else(|| refused(""))?
        }
        Some(_) => return Err(refused("")),
    };
    let mut seen = std::collections::BTreeSet::new();
    let twice = seeds.iter().enumerate().find(|(_, seed)| !seen.insert(**seed));
    match twice {
        Some((_, seed)) if matches!(table["seeds"], Value::Array(_)) => {
            Err(plan.at("seeds", format!("`seeds` names {seed} twice")))
        }
        _ => Ok(seeds),
    }
}
