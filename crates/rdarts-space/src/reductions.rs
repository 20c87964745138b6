//! Which cells of a network reduce: have half the rows and columns of the cell before, and twice its channels.
//!
//! ```text
//! cells k = n / 3 and k = 2 n / 3 of n, as in DARTS (Liu et al. 2019), or the ones that are named
//! ```
//!
//! Cells are counted from 0. A list that names none stands for the two of DARTS.

/// The most cells that may be named: each doubles the channels.
pub const MAX_REDUCTIONS: usize = 10;

/// Those at a third and at two thirds; they fall together where there is one cell.
pub fn default_reductions(cells: usize) -> Vec<usize> {
    let mut at = vec![cells / 3, 2 * cells / 3];
    at.dedup();
    at
}

/// The named ones, or where none is named those of [`default_reductions`].
pub fn reductions_or_default(named: &[usize], cells: usize) -> Vec<usize> {
    if named.is_empty() { default_reductions(cells) } else { named.to_vec() }
}

/// Whether a network of so many cells can reduce at the named ones: [`MAX_REDUCTIONS`] at most, in their order.
pub fn can_reduce_at(named: &[usize], cells: usize) -> bool {
    named.len() <= MAX_REDUCTIONS
        && named.iter().all(|&at| at < cells)
        && named.is_sorted_by(|before, after| before < after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_darts_stand_in_where_none_is_named() {
        assert_eq!(reductions_or_default(&[], 8), [2, 5]);
        assert_eq!(reductions_or_default(&[], 1), [0]);
        assert_eq!(reductions_or_default(&[1, 3], 4), [1, 3]);
    }

    #[test]
    fn cells_that_are_not_there_twice_or_out_of_order_are_told() {
        let all: Vec<usize> = (0..11).collect();
        assert!(can_reduce_at(&[], 1) && can_reduce_at(&[0, 3], 4) && can_reduce_at(&all[..10], 11));
        assert!(!can_reduce_at(&[4], 4) && !can_reduce_at(&[3, 1], 4) && !can_reduce_at(&[1, 1], 4));
        assert!(!can_reduce_at(&all, 11));
    }
}
