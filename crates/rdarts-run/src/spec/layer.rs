//! The layers that a spec is put together from: tables of TOML, each value with its origin.
//!
//! A layer is checked on its own, keys and types, before it is laid over another, so that an error can name the line
//! or the override it is about. The first preset of a kind is the list of the known keys and the example of every type.

use std::collections::BTreeMap;

use rdarts_text::escaped;
use toml::{Table, Value};

use super::checks::{Bad, float, one_of, quoted};
use super::{DataSets, Origin, Spec, SpecError};
use crate::presets::Preset;

/// A table of values and where each of them comes from.
pub(super) struct Layer {
    pub(super) table: Table,
    /// Keyed by the full key, such as `search.epochs`.
    pub(super) origins: BTreeMap<String, Origin>,
}

/// The keys that are lengths in pixels, by section.
const LENGTHS: [(&str, &[&str]); 3] = [
    ("augment", &["crop_padding", "cutout_length"]),
    ("train_augment", &["crop_padding", "cutout_length"]),
    ("portfolio", &["cutout_length"]),
];

/// Sections of a kind that trains after it has searched: what a data set's preset says of the first is true of the second.
pub(super) const ALSO: (&str, &str) = ("augment", "train_augment");

impl Layer {
    /// The first preset of a kind, which every other layer lies on.
    pub(super) fn base<S: Spec>() -> Layer {
        Layer::from_preset(&S::PRESETS[0])
    }

    pub(super) fn from_preset(preset: &Preset) -> Layer {
        let table: Table = preset.text.parse().expect("a test parses every preset");
        let mut origins = BTreeMap::new();
        for key in leaf_keys(&table) {
            origins.insert(key, Origin::Preset(preset.name.to_string()));
        }
        Layer { table, origins }
    }

    /// The preset of the data set that the topmost of `layers`, or else `below`, names; none if there is none.
    pub(super) fn of_data(below: &Layer, layers: &[Layer], sets: &dyn DataSets) -> Option<Layer> {
        let (name, size) = below.data_under(layers)?;
        Some(Layer::from_data_preset(&name, sets.preset(&name)?, size, below))
    }

    /// Lengths in the presets are for the images of a named data set as they are: where `layers`, which are to lie over
    /// this one, make them smaller, these shrink in proportion, rounded down as those of a folder are.
    pub(super) fn shrink_lengths(&mut self, layers: &[Layer], sets: &dyn DataSets) {
        let Some((name, size)) = self.data_under(layers) else { return };
        let Some(side) = sets.side(&name).map(|side| side as i64).filter(|side| (1..*side).contains(&size)) else {
            return;
        };
        for (section, keys) in LENGTHS {
            let section = self.table.get_mut(section).and_then(Value::as_table_mut);
            for (_, value) in section.into_iter().flatten().filter(|(key, _)| keys.contains(&key.as_str())) {
                if let Value::Integer(length) = value {
                    *length = *length * size / side;
                }
            }
        }
    }

    /// The name of the data set and the size of its images when `layers` lie over this one.
    fn data_under(&self, layers: &[Layer]) -> Option<(String, i64)> {
        let topmost = |key| layers.iter().rev().chain([self]).find_map(|layer| layer.table.get("data")?.get(key));
        let size = topmost("size").and_then(Value::as_integer).unwrap_or(0);
        Some((topmost("name")?.as_str()?.to_string(), size))
    }

    /// A length may be given as a part of the size of the images; it is left out while that is not known, and with
    /// "where on" if it is 0 below. Sections that a kind of spec lacks are left out too.
    fn from_data_preset(name: &str, text: &str, size: i64, below: &Layer) -> Layer {
        let mut table: Table = text.parse().expect("a test parses every preset");
        if let Some(said) = table.get(ALSO.0).cloned() {
            table.insert(ALSO.1.to_string(), said);
        }
        table.retain(|section, _| below.table.contains_key(section));
        for (name, section) in &mut table {
            let section = section.as_table_mut().expect("a preset of a data set has sections only");
            section.retain(|key, value| {
                let Some(part) = value.as_str().and_then(|text| text.strip_prefix("data.size / ")) else { return true };
                let (divisor, only_where_on) = match part.strip_suffix(" where on") {
                    Some(divisor) => (divisor, true),
                    None => (part, false),
                };
                let divisor: i64 = divisor.parse().expect("a test parses every preset");
                *value = Value::Integer(size / divisor);
                let before = below.table.get(name).and_then(|section| section.get(key)).and_then(Value::as_integer);
                size > 0 && !(only_where_on && before.is_none_or(|length| length == 0))
            });
        }
        let origin = Origin::Preset(format!("of the data set {name}"));
        let origins = leaf_keys(&table).into_iter().map(|key| (key, origin.clone())).collect();
        Layer { table, origins }
    }

    /// Parses a file and checks its keys and types.
    pub(super) fn from_text<S: Spec>(name: &str, text: &str) -> Result<Layer, SpecError> {
        let mut table = parse(name, text)?;
        let spanned = toml::de::DeTable::parse(text).map_err(|err| syntax(name, text, &err))?;
        let mut origins = BTreeMap::new();
        collect_lines(spanned.get_ref(), name, text, "", &mut origins);
        let mut origin = |key: &str| origins.get(key).cloned().unwrap_or_else(|| Origin::File(name.to_string()));
        // A spec of another kind has other keys: the kind is what is wrong, not the first of these.
        if let Some(kind) = table.get("kind").and_then(Value::as_str).filter(|kind| *kind != S::KIND) {
            let bad = Bad { key: "kind", value: quoted(kind), wanted: one_of(&[S::KIND]) };
            return Err(bad.at(origin("kind")));
        }
        let known = Layer::base::<S>().table;
        check_table(&mut table, &known, &known, "", &mut origin)?;
        Ok(Layer { table, origins })
    }

    /// Parses one override; a value that is not TOML is taken as a string where a string belongs.
    pub(super) fn from_override<S: Spec>(text: &str) -> Result<Layer, SpecError> {
        let bad = || SpecError::BadOverride { text: text.to_string(), example: S::EXAMPLE };
        let (key, raw) = text.split_once('=').ok_or_else(bad)?;
        let (key, raw) = (key.trim(), raw.trim());
        let parts: Vec<&str> = key.split('.').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(bad());
        }
        let known = Layer::base::<S>().table;
        let expected = parts[1..].iter().try_fold(known.get(parts[0]), |value, part| match value {
            Some(Value::Table(table)) => Some(table.get(*part)),
            _ => None,
        });
        let parsed =
            format!("v = {raw}").parse::<Table>().ok().filter(|t| t.len() == 1).and_then(|mut t| t.remove("v"));
        if let (Some(Value::Integer(_)), None) = (expected.flatten(), &parsed)
            && is_whole_number(raw)
        {
            return Err(beyond_toml(Origin::Override(text.to_string()), key, raw));
        }
        let value = match (expected.flatten(), parsed) {
            (Some(Value::String(_)), Some(Value::String(value))) => Value::String(value),
            (Some(Value::String(_)), _) | (_, None) => Value::String(raw.to_string()),
            (_, Some(value)) => value,
        };
        let mut table = Table::new();
        let wrapped = parts[1..]
            .iter()
            .rev()
            .fold(value, |value, part| Value::Table(Table::from_iter([(part.to_string(), value)])));
        table.insert(parts[0].to_string(), wrapped);
        let origin = Origin::Override(text.to_string());
        check_table(&mut table, &known, &known, "", &mut |_| origin.clone())?;
        let origins = leaf_keys(&table).into_iter().map(|key| (key, origin.clone())).collect();
        Ok(Layer { table, origins })
    }

    /// What the user says of flipping the images of the searches is true of those of the trainings.
    pub(super) fn flip_also(&mut self) {
        let (from, to) = (format!("{}.flip", ALSO.0), format!("{}.flip", ALSO.1));
        let said = self.table.get(ALSO.0).and_then(|section| section.get("flip")).cloned();
        if let (Some(said), Some(origin)) = (said, self.origins.get(&from).cloned()) {
            let section = self.table.entry(ALSO.1).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                section.insert("flip".to_string(), said);
                self.origins.insert(to, origin);
            }
        }
    }

    /// Whether it names a key.
    pub(super) fn names(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    /// The preset that this layer names, and where.
    pub(super) fn preset(&self) -> Option<(&str, Origin)> {
        let name = self.table.get("preset")?.as_str()?;
        Some((name, self.origins.get("preset").cloned().unwrap_or(Origin::Program)))
    }

    /// Lays another layer over this one.
    pub(super) fn lay(&mut self, other: Layer) {
        lay_table(&mut self.table, other.table);
        self.origins.extend(other.origins);
    }

    /// The spec, checked; against what its data set is like too, if `sets` are known.
    pub(super) fn into_spec<S: Spec>(self, sets: Option<&dyn DataSets>) -> Result<S, SpecError> {
        let origin = |key: &str| self.origins.get(key).cloned().unwrap_or(Origin::Program);
        for (key, names) in S::CHOICES {
            let value = match key.split_once('.') {
                Some((section, leaf)) => self.table.get(section).and_then(|table| table.get(leaf)),
                None => self.table.get(*key),
            };
            let value = value.and_then(Value::as_str);
            if let Some(value) = value.filter(|value| !names.contains(value)) {
                return Err(Bad { key, value: quoted(value), wanted: one_of(names) }.at(origin(key)));
            }
        }
        // Keys, types and choices have been checked, so this refuses only what has no place in a machine word.
        let spec: S = self.table.clone().try_into().map_err(|err: toml::de::Error| SpecError::Syntax {
            origin: Origin::Program,
            message: err.message().replace('\n', "; "),
        })?;
        let shape = sets.zip(spec.data()).map_or(Ok(()), |(sets, data)| data.check_shape(sets));
        shape.and_then(|()| spec.check()).map_err(|bad| {
            let origin = origin(bad.key);
            bad.at(origin)
        })?;
        Ok(spec)
    }
}

/// A text as TOML; `name` is what errors call it.
pub(super) fn parse(name: &str, text: &str) -> Result<Table, SpecError> {
    text.parse().map_err(|err| too_large(name, text, &err).unwrap_or_else(|| syntax(name, text, &err)))
}

fn syntax(name: &str, text: &str, err: &toml::de::Error) -> SpecError {
    let line = line_of(text, err.span().map_or(0, |span| span.start));
    let message = escaped(&err.message().lines().map(str::trim).collect::<Vec<_>>().join("; "));
    SpecError::Syntax { origin: Origin::Line(name.to_string(), line), message }
}

/// A number of digits, as TOML writes whole ones.
fn is_whole_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(|c| c.is_ascii_digit() || c == '_')
}

fn beyond_toml(origin: Origin, key: &str, number: &str) -> SpecError {
    let wanted = format!("a whole number from 0 to {}", i64::MAX);
    SpecError::BadValue { origin, key: key.to_string(), value: number.to_string(), wanted }
}

/// The sentence for a whole number that TOML has no room for, if that is what the parser refused.
fn too_large(name: &str, text: &str, err: &toml::de::Error) -> Option<SpecError> {
    let begin = err.span()?.start;
    let is_part = |c: char| c.is_ascii_digit() || "_+-".contains(c);
    let start = text.get(..begin)?.trim_end_matches(is_part).len();
    let rest = text.get(start..)?;
    let number = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
    if !is_whole_number(number) || number.replace('_', "").parse::<i64>().is_ok() {
        return None;
    }
    // The key of the line, within its section.
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let key = text[line_start..start].trim().strip_suffix('=')?.trim().trim_matches(['"', '\'']);
    let section = text[..line_start].lines().rev().find_map(|line| line.trim().strip_prefix('[')?.split(']').next());
    let origin = Origin::Line(name.to_string(), line_of(text, start));
    Some(beyond_toml(origin, &join(section.unwrap_or("").trim(), key), number))
}

/// Refuses unknown keys and wrong types; whole numbers become floats where a float belongs, also in a list.
fn check_table(
    table: &mut Table,
    known: &Table,
    all: &Table,
    prefix: &str,
    origin: &mut dyn FnMut(&str) -> Origin,
) -> Result<(), SpecError> {
    for (key, value) in table.iter_mut() {
        let full = join(prefix, key);
        let Some(expected) = known.get(key) else {
            let hint = nearest(key, prefix, known, all);
            return Err(SpecError::UnknownKey { origin: origin(&full), key: full, hint });
        };
        let wanted = match (expected, &mut *value) {
            (Value::Table(known), Value::Table(table)) => {
                check_table(table, known, all, &full, origin)?;
                continue;
            }
            (Value::Float(_), Value::Integer(whole)) => {
                *value = Value::Float(*whole as f64);
                continue;
            }
            (Value::Array(example), Value::Array(values)) => {
                let wanted = list_of_numbers(example);
                let wrong = if example.is_empty() { not_a_whole_number } else { not_a_number };
                let Some(value) = values.iter_mut().find_map(wrong) else { continue };
                let value = format!("a list with {value}");
                return Err(SpecError::BadValue { origin: origin(&full), key: full, value, wanted });
            }
            (Value::Integer(_), Value::Integer(whole)) if *whole >= 0 => continue,
            (Value::Integer(example), _) => format!("a whole number without a sign, such as {example}"),
            (Value::Float(_), Value::Float(_))
            | (Value::Boolean(_), Value::Boolean(_))
            | (Value::String(_), Value::String(_)) => continue,
            (Value::Float(example), _) => format!("a number, such as {}", float(*example)),
            (Value::Boolean(_), _) => "true or false".to_string(),
            (Value::String(example), _) if example.is_empty() => "a text in quotes".to_string(),
            (Value::String(example), _) => format!("a text in quotes, such as {}", quoted(example)),
            (Value::Table(_), _) => format!("a section [{full}]"),
            (Value::Array(example), _) => list_of_numbers(example),
            (Value::Datetime(_), _) => unreachable!("no key of a spec is a date"),
        };
        return Err(SpecError::BadValue { origin: origin(&full), key: full, value: shown(value), wanted });
    }
    Ok(())
}

/// Every list of a spec is one of numbers, and one whose example is empty of whole numbers.
fn list_of_numbers(example: &[Value]) -> String {
    if example.is_empty() {
        return "a list of whole numbers without a sign, such as [1, 3]".to_string();
    }
    let shown: Vec<String> = example.iter().filter_map(Value::as_float).map(float).collect();
    format!("a list of numbers, such as [{}]", shown.join(", "))
}

/// An entry of a list that is none of numbers, as a sentence shows it; a whole number becomes a float.
fn not_a_number(value: &mut Value) -> Option<String> {
    match value {
        Value::Float(_) => None,
        Value::Integer(whole) => {
            *value = Value::Float(*whole as f64);
            None
        }
        other => Some(shown(other)),
    }
}

/// An entry of a list that is no whole number from 0 on, as a sentence shows it.
fn not_a_whole_number(value: &mut Value) -> Option<String> {
    match value {
        Value::Integer(0..) => None,
        other => Some(shown(other)),
    }
}

/// What to write instead of an unknown key.
fn nearest(key: &str, prefix: &str, known: &Table, all: &Table) -> String {
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    if let Some(name) = rdarts_text::nearest(key, &names) {
        return format!("did you mean `{}`?", join(prefix, name));
    }
    // A key that exists in another section was most likely put in the wrong one.
    if let Some(elsewhere) = leaf_keys(all).iter().find(|full| full.rsplit('.').next() == Some(key)) {
        return format!("did you mean `{elsewhere}`?");
    }
    let place = if prefix.is_empty() { "a spec".to_string() } else { format!("[{prefix}]") };
    format!("the keys of {place} are {}", names.join(", "))
}

pub(super) fn first_missing(table: &Table, known: &Table, prefix: &str) -> Option<String> {
    known.iter().find_map(|(key, expected)| {
        let full = join(prefix, key);
        match (expected, table.get(key)) {
            (_, None) => Some(full),
            (Value::Table(known), Some(Value::Table(table))) => first_missing(table, known, &full),
            _ => None,
        }
    })
}

fn lay_table(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_table(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

fn collect_lines(
    table: &toml::de::DeTable<'_>,
    name: &str,
    text: &str,
    prefix: &str,
    origins: &mut BTreeMap<String, Origin>,
) {
    for (key, value) in table.iter() {
        let full = join(prefix, key.get_ref());
        let line = line_of(text, key.span().start);
        if let Some(table) = value.get_ref().as_table() {
            collect_lines(table, name, text, &full, origins);
        }
        origins.insert(full, Origin::Line(name.to_string(), line));
    }
}

/// The number, from 1, of the line that a byte stands in.
fn line_of(text: &str, byte: usize) -> usize {
    1 + text.as_bytes()[..byte.min(text.len())].iter().filter(|&&b| b == b'\n').count()
}

/// The full keys of all values that are not tables.
pub(super) fn leaf_keys(table: &Table) -> Vec<String> {
    let mut keys = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => keys.extend(leaf_keys(inner).into_iter().map(|leaf| join(key, &leaf))),
            _ => keys.push(key.clone()),
        }
    }
    keys
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Table(_) => "a section".to_string(),
        Value::Array(_) => "a list".to_string(),
        other => other.to_string(),
    }
}
