//! A small plot for the terminal: one column an epoch, one mark a value, each attempt with its own mark.

/// A value at an epoch, in the attempt it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub epoch: usize,
    pub attempt: usize,
    pub value: f64,
}

const MARKS: [char; 4] = ['●', '○', '◆', '◇'];

/// Draws the points in `rows` lines; at most `columns` epochs wide, several epochs a column if need be.
pub fn draw(points: &[Point], rows: usize, columns: usize) -> String {
    let finite: Vec<&Point> = points.iter().filter(|p| p.value.is_finite()).collect();
    let Some(last) = finite.iter().map(|p| p.epoch).max() else { return "  nothing was measured\n".into() };
    let low = finite.iter().map(|p| p.value).fold(f64::INFINITY, f64::min);
    let high = finite.iter().map(|p| p.value).fold(f64::NEG_INFINITY, f64::max);
    // A flat line gets a middle row.
    let margin = if high == 0.0 { 1.0 } else { 0.1 * high.abs() };
    let (low, high) = if high - low > 1e-12 * high.abs() { (low, high) } else { (low - margin, high + margin) };
    let per_column = (last + 1).div_ceil(columns).max(1);
    let wide = if last < columns / 4 { 3 } else { 1 };
    let width = (last / per_column + 1) * wide;
    let mut grid = vec![vec![' '; width]; rows];
    for p in &finite {
        let row = ((high - p.value) / (high - low) * (rows - 1) as f64).round() as usize;
        grid[row][p.epoch / per_column * wide + wide / 2] = MARKS[p.attempt.min(MARKS.len() - 1)];
    }
    let mut out = String::new();
    for (i, line) in grid.iter().enumerate() {
        let value = high - (high - low) * i as f64 / (rows - 1) as f64;
        let line: String = line.iter().collect();
        out += &format!("{value:>10.4} ┤{}\n", line.trim_end());
    }
    out += &format!("{:>10} └{}\n", "", "─".repeat(width));
    let mut axis = vec![' '; width + 8];
    let every = (width / 6).max(4).div_ceil(wide);
    for column in (0..=last / per_column).step_by(every) {
        for (i, digit) in (column * per_column).to_string().chars().enumerate() {
            axis[column * wide + wide / 2 + i] = digit;
        }
    }
    let axis: String = axis.iter().collect();
    out += &format!("{:>10}  {} epoch\n", "", axis.trim_end());
    let n_attempts = finite.iter().map(|p| p.attempt).max().unwrap_or(0);
    if n_attempts > 0 {
        // The last mark stands for all attempts that have none of their own.
        let names = MARKS.iter().enumerate().take(n_attempts + 1).map(|(a, mark)| match a {
            0 => format!("{mark} first attempt"),
            _ if a + 1 == MARKS.len() && n_attempts > a => format!("{mark} after rollbacks {a} to {n_attempts}"),
            _ => format!("{mark} after rollback {a}"),
        });
        out += &format!("{:>12}{}\n", "", names.collect::<Vec<_>>().join("   "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trajectory_with_a_rollback_shows_both_attempts() {
        let value = |epoch: usize| 0.1 + 0.02 * (epoch * epoch) as f64;
        let mut points: Vec<Point> = (0..8).map(|epoch| Point { epoch, attempt: 0, value: value(epoch) }).collect();
        points.extend((3..8).map(|epoch| Point { epoch, attempt: 1, value: 0.3 }));
        insta::assert_snapshot!(draw(&points, 6, 60));
    }

    #[test]
    fn flat_single_and_missing_values_draw_without_a_panic() {
        assert!(draw(&[], 5, 40).contains("nothing"));
        assert!(draw(&[Point { epoch: 0, attempt: 0, value: f64::NAN }], 5, 40).contains("nothing"));
        assert_eq!(draw(&[Point { epoch: 0, attempt: 0, value: 2.0 }], 5, 40).matches('●').count(), 1);
        let many: Vec<Point> = (0..500).map(|epoch| Point { epoch, attempt: 9, value: epoch as f64 }).collect();
        assert!(draw(&many, 8, 60).lines().all(|l| l.chars().count() < 100));
    }
}
