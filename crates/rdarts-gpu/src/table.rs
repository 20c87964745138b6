//! The table that kernels read what they work on from.

use cubecl::client::Client;
use cubecl::prelude::*;
use cubecl::server::Handle;

/// Numbers of a row.
pub(crate) const ROW: usize = 16;

/// Stands for "there is none".
pub(crate) const NONE: u32 = u32::MAX;

/// Rows of [`ROW`] numbers, and lists that rows point at.
#[derive(Default)]
pub(crate) struct Table {
    numbers: Vec<u32>,
}

/// Rows of one launch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    /// Where the first one begins.
    pub at: u32,
    pub n: u32,
}

impl Table {
    /// Adds the rows of a launch; a list, if a row has one, goes behind them and its place into the row's last number.
    pub fn add(&mut self, rows: Vec<(Vec<usize>, Vec<usize>)>) -> Rows {
        let (at, n) = (self.numbers.len(), rows.len());
        let mut lists = Vec::new();
        let first_list = at + n * ROW;
        for (row, list) in rows {
            assert!(row.len() < ROW, "a row has {ROW} numbers, its last is the place of its list");
            let mut numbers: Vec<u32> = row.into_iter().map(number).collect();
            numbers.resize(ROW - 1, NONE);
            numbers.push(number(first_list + lists.len()));
            self.numbers.extend(numbers);
            lists.extend(list.into_iter().map(number));
        }
        self.numbers.extend(lists);
        Rows { at: number(at), n: number(n) }
    }

    /// The table on the card.
    pub fn upload(self, client: &Client) -> Placed {
        Placed { handle: client.create_from_slice(u32::as_bytes(&self.numbers)), len: self.numbers.len() }
    }
}

/// A table on the card.
pub(crate) struct Placed {
    /// Where it lies.
    pub handle: Handle,
    /// How many numbers it has.
    pub len: usize,
}

fn number(value: usize) -> u32 {
    if value == usize::MAX { NONE } else { u32::try_from(value).expect("a cell has fewer than 2^32 values") }
}

/// A number of a row that may be none.
pub(crate) fn or_none(value: Option<usize>) -> usize {
    value.unwrap_or(usize::MAX)
}
