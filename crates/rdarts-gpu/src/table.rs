//! The table that kernels read what they work on from.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use cubecl::client::Client;
use cubecl::prelude::*;
use cubecl::server::Handle;

use crate::counted::went_up;

/// Numbers of a row.
pub(crate) const ROW: usize = 16;

/// Stands for "there is none".
pub(crate) const NONE: u32 = u32::MAX;

/// Tables that have been asked for, of each card. A step has as many as its network has cells; a method that draws networks
/// has new ones in every step, so that all are forgotten now and then.
static THERE: LazyLock<Mutex<HashMap<String, HashMap<Vec<u32>, Handle>>>> = LazyLock::new(Mutex::default);

/// So many stay, of some kilobytes each.
const MOST_THERE: usize = 2048;

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

    /// The table on the card, where it stays: the next step asks for the same one.
    pub fn upload(self, client: &Client) -> Placed {
        let len = self.numbers.len();
        let mut there = THERE.lock().unwrap_or_else(PoisonError::into_inner);
        if there.values().map(HashMap::len).sum::<usize>() > MOST_THERE {
            there.clear();
        }
        let of_card = there.entry(client.service_id().to_string()).or_default();
        if let Some(handle) = of_card.get(&self.numbers) {
            return Placed { handle: handle.clone(), len };
        }
        let placed = Placed::upload(client, &self.numbers);
        of_card.insert(self.numbers, placed.handle.clone());
        placed
    }

    /// The table of one launch.
    pub fn of(rows: Vec<(Vec<usize>, Vec<usize>)>, client: &Client) -> (Placed, Rows) {
        let mut table = Self::default();
        let rows = table.add(rows);
        (table.upload(client), rows)
    }
}

/// A table on the card.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// Where it lies.
    pub handle: Handle,
    /// How many numbers it has.
    pub len: usize,
}

impl Placed {
    /// Numbers that no one asks for again.
    pub fn upload(client: &Client, numbers: &[u32]) -> Self {
        went_up(size_of_val(numbers));
        Self { handle: client.create_from_slice(u32::as_bytes(numbers)), len: numbers.len() }
    }
}

fn number(value: usize) -> u32 {
    if value == usize::MAX { NONE } else { u32::try_from(value).expect("a cell has fewer than 2^32 values") }
}

/// A number of a row that may be none.
pub(crate) fn or_none(value: Option<usize>) -> usize {
    value.unwrap_or(usize::MAX)
}
