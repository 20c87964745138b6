//! A plan as it is written: values by their keys, and the line of each.

use std::collections::BTreeMap;

use rdarts_text::{nearest, quote};
use toml::de::DeTable;
use toml::{Table, Value};

use super::Setting;
use crate::SweepError;

/// Where everything stands.
pub(super) struct Written<'a> {
    file: &'a str,
    text: &'a str,
    /// The first byte of each key, by its full name.
    begins: BTreeMap<String, usize>,
}

impl<'a> Written<'a> {
    pub(super) fn new(file: &'a str, text: &'a str, table: &DeTable<'_>) -> Self {
        let mut begins = BTreeMap::new();
        collect(table, "", &mut begins);
        Self { file, text, begins }
    }

    /// A sentence on the plan as a whole.
    pub(super) fn whole(&self, problem: String) -> SweepError {
        SweepError::Plan { file: self.file.to_string(), problem }
    }

    /// A sentence on a key.
    pub(super) fn at(&self, key: &str, problem: String) -> SweepError {
        self.at_line(self.line(key), problem)
    }

    pub(super) fn at_line(&self, line: usize, problem: String) -> SweepError {
        SweepError::Line { file: self.file.to_string(), line, problem }
    }

    /// The line of a key, counted from 1.
    pub(super) fn line(&self, key: &str) -> usize {
        1 + self.text[..self.begins.get(key).copied().unwrap_or(0)].matches('\n').count()
    }

    /// The keys of a table in the order in which they are written.
    pub(super) fn in_order(&self, table: &Table, prefix: &str) -> Vec<String> {
        let mut keys: Vec<String> = table.keys().cloned().collect();
        keys.sort_by_key(|key| self.begins.get(&join(prefix, key)).copied());
        keys
    }

    /// A text at the top or, as `slurm.time`, in a section.
    pub(super) fn text(&self, table: &Table, key: &str) -> Result<Option<String>, SweepError> {
        match find(table, key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.at(key, format!("`{key}` must be a text in quotes"))),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self, table: &Table, key: &str) -> Result<Vec<String>, SweepError> {
        let refused = || self.at(key, format!("`{key}` must be a list of texts in quotes"));
        match find(table, key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => {
                let texts = values.iter().map(|value| value.as_str().map(str::to_string)).collect::<Option<_>>();
                texts.ok_or_else(refused)
            }
            Some(_) => Err(refused()),
        }
    }

    pub(super) fn whole_number(
        &self,
        table: &Table,
        key: &str,
        least: u64,
        most: u64,
    ) -> Result<Option<u64>, SweepError> {
        let Some(value) = find(table, key) else { return Ok(None) };
        let number = value.as_integer().and_then(|n| u64::try_from(n).ok()).filter(|n| (least..=most).contains(n));
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(self.at(key, format!("`{key}` must be a whole number from {least} to {most}"))),
        }
    }

    /// A section; an empty one if it is not there. Keys other than `known` are refused.
    pub(super) fn section(&self, table: &Table, name: &str, known: &[&str]) -> Result<Table, SweepError> {
        let section = match table.get(name) {
            None => return Ok(Table::new()),
            Some(Value::Table(section)) => section.clone(),
            Some(_) => return Err(self.at(name, format!("`{name}` must be a section [{name}]"))),
        };
        for key in self.in_order(&section, name) {
            if !known.contains(&key.as_str()) {
                let hint = match nearest(&key, known) {
                    Some(near) => format!("did you mean `{name}.{near}`?"),
                    None => format!("the keys of [{name}] are {}", known.join(", ")),
                };
                return Err(self.at(&join(name, &key), format!("unknown key {}; {hint}", quote(&join(name, &key)))));
            }
        }
        Ok(section)
    }

    /// The keys of a spec in a section, in the order in which they are written.
    pub(super) fn settings(&self, table: &Table, section: &str) -> Result<Vec<Setting>, SweepError> {
        let mut all = Vec::new();
        match table.get(section) {
            None => {}
            Some(Value::Table(keys)) => self.leaves(keys, section, &mut all),
            Some(_) => return Err(self.at(section, format!("`{section}` must be a section [{section}]"))),
        }
        all.sort_by_key(|(begin, _)| *begin);
        for (_, setting) in &mut all {
            setting.key = setting.key[section.len() + 1..].to_string();
            let is_right = |part: &str| !part.is_empty() && !part.contains(['=', '"', ' ']);
            if !setting.key.split('.').all(is_right) {
                return Err(self.at_line(setting.line, format!("{} is no key of a spec", quote(&setting.key))));
            }
        }
        Ok(all.into_iter().map(|(_, setting)| setting).collect())
    }

    fn leaves(&self, table: &Table, prefix: &str, all: &mut Vec<(usize, Setting)>) {
        for (key, value) in table {
            let full = join(prefix, key);
            match value {
                Value::Table(inner) => self.leaves(inner, &full, all),
                value => {
                    let begin = self.begins.get(&full).copied().unwrap_or(0);
                    all.push((begin, Setting { line: self.line(&full), key: full, value: value.clone() }));
                }
            }
        }
    }

    /// The list of a key that members differ in.
    pub(super) fn values(&self, setting: &Setting, section: &str) -> Result<Vec<Value>, SweepError> {
        let key = &setting.key;
        let refused = |problem: String| Err(self.at_line(setting.line, problem));
        match &setting.value {
            Value::Array(values) if values.is_empty() => {
                refused(format!("the list of `{key}` is empty, so that there would be no members"))
            }
            Value::Array(values) => {
                let twice = values.iter().enumerate().find(|(i, value)| values[..*i].contains(value));
                match twice {
                    Some((_, value)) if section == "grid" || key == "name" => {
                        refused(format!("the list of `{key}` has {} twice", quote(&value.to_string())))
                    }
                    _ => Ok(values.clone()),
                }
            }
            _ => refused(format!(
                "`{key}` must be a list in [{section}], such as [1, 2]; what all members have stands in [set]"
            )),
        }
    }
}

fn collect(table: &DeTable<'_>, prefix: &str, begins: &mut BTreeMap<String, usize>) {
    for (key, value) in table.iter() {
        let full = join(prefix, key.get_ref());
        if let Some(table) = value.get_ref().as_table() {
            collect(table, &full, begins);
        }
        begins.insert(full, key.span().start);
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") }
}

fn find<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, key)) => table.get(section)?.get(key),
    }
}
