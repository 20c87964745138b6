//! Numbers as text: few digits for people, all digits for files.

/// A number in at most four digits that count.
pub fn short(value: f64) -> String {
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
pub fn percent(fraction: f64) -> String {
    if fraction.is_finite() { minus(format!("{:.2} %", 100.0 * fraction)) } else { short(fraction) }
}

/// A mean and its deviation, in as many digits as the deviation makes sense of: two of its own.
pub(crate) fn spread(mean: f64, deviation: Option<f64>) -> String {
    match deviation.filter(|deviation| deviation.is_finite() && *deviation > 0.0) {
        Some(deviation) if mean.abs().max(deviation) < 1e6 && 1e-6 <= deviation => {
            let places = (1.0 - deviation.log10().floor()).clamp(0.0, 8.0) as usize;
            minus(format!("{mean:.places$} \u{b1} {deviation:.places$}"))
        }
        Some(deviation) => format!("{} \u{b1} {}", short(mean), short(deviation)),
        None => short(mean),
    }
}

/// The same of fractions as percent.
pub(crate) fn spread_percent(mean: f64, deviation: Option<f64>) -> String {
    match deviation {
        Some(_) => format!("{} %", spread(100.0 * mean, deviation.map(|deviation| 100.0 * deviation))),
        None => percent(mean),
    }
}

/// The difference of two fractions in points of percent.
pub fn points(fraction: f64) -> String {
    if fraction.is_finite() { minus(format!("{:.2}", 100.0 * fraction)) } else { short(fraction) }
}

/// An error in pixels.
pub fn pixels(value: f64) -> String {
    if value.is_finite() { minus(format!("{value:.2} px")) } else { short(value) }
}

/// A mean of such errors and its deviation.
pub(crate) fn spread_pixels(mean: f64, deviation: Option<f64>) -> String {
    match deviation {
        Some(_) => format!("{} px", spread(mean, deviation)),
        None => pixels(mean),
    }
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
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => short(s),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Bytes as `641 MB` or `1.20 GB`.
pub fn bytes(bytes: u64) -> String {
    match megabytes(bytes) {
        mb if mb < 1000.0 => format!("{mb:.0} MB"),
        mb => format!("{:.2} GB", mb / 1000.0),
    }
}

/// Millions of bytes.
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Names in a sentence, of many only the first.
pub(crate) fn listed(names: &[String], between: &str) -> String {
    const MOST: usize = 5;
    let told = names.iter().take(MOST).cloned().collect::<Vec<_>>().join(between);
    match names.len().saturating_sub(MOST) {
        0 => told,
        n => format!("{told} and {}", some(n, "other")),
    }
}

/// The same as [`spread`], of the difference of two fractions in points of percent.
pub(crate) fn spread_points(mean: f64, deviation: Option<f64>) -> String {
    match deviation {
        Some(_) => spread(100.0 * mean, deviation.map(|deviation| 100.0 * deviation)),
        None => points(mean),
    }
}

/// How many of something there are, in words.
pub fn some(n: usize, one: &str) -> String {
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
    fn a_deviation_says_how_many_digits_make_sense() {
        assert_eq!(spread(2.431, Some(0.066_48)), "2.431 \u{b1} 0.066");
        assert_eq!(spread(7.75, Some(0.5)), "7.75 \u{b1} 0.50");
        assert_eq!(spread(1234.5, Some(56.0)), "1234 \u{b1} 56");
        assert_eq!(spread(3.0, Some(0.0)), "3");
        assert_eq!(spread_percent(0.1237, Some(0.0114)), "12.4 \u{b1} 1.1 %");
        assert_eq!(spread_percent(0.1237, None), "12.37 %");
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
