//! Values against their ranges.

use std::ops::{Bound, RangeBounds, RangeInclusive};

use super::{Origin, SpecError};

/// A value that was refused, before its origin is known.
pub struct Bad {
    pub(super) key: &'static str,
    pub(super) value: String,
    pub(super) wanted: String,
}

impl Bad {
    pub(super) fn at(self, origin: Origin) -> SpecError {
        SpecError::BadValue { origin, key: self.key.to_string(), value: self.value, wanted: self.wanted }
    }
}

pub(super) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// A float as TOML shows it; `{:?}` keeps the point or the exponent.
pub(super) fn float(value: f64) -> String {
    format!("{value:?}")
}

pub(super) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!("one of {}", quoted.join(", "))
}

pub(super) fn named(key: &'static str, value: &str) -> Result<(), Bad> {
    if !value.is_empty() {
        return Ok(());
    }
    Err(Bad { key, value: quoted(value), wanted: "a name".to_string() })
}

pub(super) fn count(key: &'static str, value: u64, range: RangeInclusive<u64>) -> Result<(), Bad> {
    if range.contains(&value) {
        return Ok(());
    }
    let wanted = format!("a whole number from {} to {}", range.start(), range.end());
    Err(Bad { key, value: value.to_string(), wanted })
}

pub(super) fn positive() -> (Bound<f64>, Bound<f64>) {
    (Bound::Excluded(0.0), Bound::Unbounded)
}

/// Not a number is in no range, and infinity is refused even where there is no upper limit.
pub(super) fn real(key: &'static str, value: f64, range: impl RangeBounds<f64>) -> Result<(), Bad> {
    if value.is_finite() && range.contains(&value) {
        return Ok(());
    }
    let low = match range.start_bound() {
        Bound::Included(low) => Some(format!("at least {low}")),
        Bound::Excluded(low) => Some(format!("above {low}")),
        Bound::Unbounded => None,
    };
    let high = match range.end_bound() {
        Bound::Included(high) => Some(format!("at most {high}")),
        Bound::Excluded(high) => Some(format!("below {high}")),
        Bound::Unbounded => None,
    };
    let limits: Vec<String> = low.into_iter().chain(high).collect();
    Err(Bad { key, value: float(value), wanted: format!("a number {}", limits.join(" and ")) })
}
