//! Numbers as text: few digits for people, all digits for files.

/// A number in at most four digits that count.
pub(crate) fn short(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "not a number" } else { "infinite" }.to_string();
    }
    let size = value.abs();
    if size == 0.0 {
        return "0".to_string();
    }
    if !(1e-3..1e6).contains(&size) {
        return minus(trimmed_exponent(&format!("{value:.2e}")));
    }
    let places = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.places$}");
    minus(if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text })
}

/// A fraction as percent.
pub(crate) fn percent(fraction: f64) -> String {
    if fraction.is_finite() { minus(format!("{:.2} %", 100.0 * fraction)) } else { short(fraction) }
}

/// A whole number with thin spaces between thousands.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        // Four digits are read without help.
        if i > 0 && (digits.len() - i).is_multiple_of(3) && digits.len() > 4 {
            text.push('\u{2009}');
        }
        text.push(digit);
    }
    text
}

/// A time in the largest unit that leaves a number above one.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => short(s),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// How many of something there are, in words.
pub(crate) fn some(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

fn trimmed_exponent(text: &str) -> String {
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.')),
        None => text.to_string(),
    }
}

/// The minus of typography, which is as wide as a digit.
fn minus(text: String) -> String {
    text.replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits_that_count() {
        let rows = [
            (0.0, "0"),
            (0.25, "0.25"),
            (0.123_456, "0.1235"),
            (12.345_6, "12.35"),
            (123_456.7, "123457"),
            (3e-4, "3e\u{2212}4"),
            (0.000_33, "3.3e\u{2212}4"),
            (0.03, "0.03"),
            (-1.5, "\u{2212}1.5"),
            (2e9, "2e9"),
            (f64::NAN, "not a number"),
        ];
        for (value, text) in rows {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn counts_and_times_are_read_at_a_glance() {
        let counts = [0, 999, 1234, 12_345, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1234", "12\u{2009}345", "1\u{2009}234\u{2009}567"]);
        assert_eq!([1.0, 150.0, 7200.0].map(duration), ["1.0 s", "2.5 min", "2.0 h"]);
        assert_eq!(percent(0.625), "62.50 %");
        assert_eq!([some(1, "epoch"), some(2, "epoch")], ["1 epoch", "2 epochs"]);
    }
}
