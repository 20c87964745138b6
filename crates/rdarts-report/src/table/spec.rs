//! A spec as a table, what differs from its preset marked.

use rdarts_run::{DataSets, Spec};
use serde::Serialize;
use toml::{Table, Value};

/// Every value of a spec.
#[derive(Clone, Debug, Serialize)]
pub struct SpecTable {
    /// The preset that it was based on.
    pub preset: String,
    /// Whether this program has that preset, so that it could be compared.
    pub is_compared: bool,
    /// One row a key, in the order of the sections.
    pub rows: Vec<SpecRow>,
}

/// One value of a spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpecRow {
    /// The full key, such as `search.epochs`.
    pub key: String,
    /// Its value, as TOML.
    pub value: String,
    /// The value of the preset, where that is another one.
    pub preset: Option<String>,
}

impl SpecTable {
    pub(super) fn new<S: Spec>(spec: &S, preset: &str) -> SpecTable {
        // The one key that no preset has is that of the network of a training.
        let is_training = ["train", "disparity-training"].contains(&S::KIND);
        let genotype = if is_training { vec!["network.genotype='-'".to_string()] } else { Vec::new() };
        let base = S::resolve_text(Some(preset), None, &genotype, &NoSets).ok();
        let base = base.as_ref().map(flat);
        let rows = flat(spec)
            .into_iter()
            .map(|(key, value)| {
                let of_preset = base.as_ref().and_then(|base| base.iter().find(|row| row.0 == key));
                let preset = of_preset.filter(|row| row.1 != value && key != "network.genotype");
                SpecRow { preset: preset.map(|row| row.1.clone()), key, value }
            })
            .collect();
        SpecTable { preset: preset.to_string(), is_compared: base.is_some(), rows }
    }
}

/// Which data sets there are is not known here, so what they need stands in the table as a difference.
struct NoSets;

impl DataSets for NoSets {
    fn preset(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn side(&self, _: &str) -> Option<usize> {
        None
    }

    fn has_free_channels(&self, _: &str) -> bool {
        true
    }
}

/// All keys and values; of a spec that was read, so that writing it cannot fail.
fn flat(spec: &impl Spec) -> Vec<(String, String)> {
    let table: Table = spec.to_toml().parse().unwrap_or_default();
    let (sections, top): (Vec<_>, Vec<_>) = table.into_iter().partition(|(_, value)| value.is_table());
    let mut rows: Vec<(String, String)> = top.into_iter().map(|(key, value)| (key, value.to_string())).collect();
    for (section, values) in sections {
        if let Value::Table(values) = values {
            rows.extend(values.into_iter().map(|(key, value)| (format!("{section}.{key}"), value.to_string())));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use rdarts_run::SearchSpec;

    use super::*;

    #[test]
    fn what_differs_from_the_preset_is_marked() {
        let overrides = ["search.epochs=7".to_string(), "augment.flip=false".to_string()];
        let spec = SearchSpec::resolve_text(Some("demo"), None, &overrides, &NoSets).unwrap();
        let table = SpecTable::new(&spec, &spec.preset);
        let marked: Vec<_> = table.rows.iter().filter_map(|row| Some((&row.key[..], row.preset.as_deref()?))).collect();
        assert!(table.is_compared);
        assert_eq!(marked, [("augment.flip", "true"), ("search.epochs", "12")]);
        assert_eq!(table.rows.iter().filter(|row| row.key == "search.epochs" && row.value == "7").count(), 1);
    }

    #[test]
    fn a_preset_that_is_not_known_marks_nothing() {
        let mut spec = SearchSpec::resolve_text(Some("demo"), None, &[], &NoSets).unwrap();
        spec.preset = "of-next-year".to_string();
        let table = SpecTable::new(&spec, &spec.preset);
        assert!(!table.is_compared && table.rows.iter().all(|row| row.preset.is_none()));
    }
}
