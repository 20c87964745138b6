//! Regret: how far an architecture is from the best one.

use rdarts_space::{Genotype, Mismatch};

use crate::query::{Row, Table};

/// The best architecture of a table, as the zero that others are measured from.
#[derive(Clone, Copy, Debug)]
pub struct Optimum<'a> {
    table: &'a Table,
    /// Itself.
    pub best: Row<'a>,
}

/// Where an architecture stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Its number.
    pub architecture: u64,
    /// Its mean test error.
    pub test_error: f64,
    /// That less the one of the best architecture.
    pub regret: f64,
}

/// Why a table does not say where an architecture stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmeasured {
    /// It is none of the table's space.
    #[error(transparent)]
    Elsewhere(#[from] Mismatch),
    /// Not all of its trainings are done.
    #[error("it has not been trained with every seed yet: build the table further")]
    Untrained,
}

impl Table {
    /// The best of the architectures that were trained with every seed; none without any.
    pub fn optimum(&self) -> Option<Optimum<'_>> {
        Some(Optimum { table: self, best: *self.ranked().first()? })
    }
}

impl Optimum<'_> {
    /// Where an architecture stands.
    ///
    /// # Errors
    /// If it is none of the space, or was not trained with every seed yet.
    pub fn standing(&self, genotype: &Genotype) -> Result<Standing, Unmeasured> {
        let row = self.table.query(genotype)?.filter(|row| self.table.is_whole(row)).ok_or(Unmeasured::Untrained)?;
        Ok(Standing { architecture: row.architecture(), test_error: row.mean, regret: row.mean - self.best.mean })
    }
}
