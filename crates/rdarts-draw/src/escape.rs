//! Text from outside on its way into markup: the only way there is.
//!
//! What would do something else than being read (control characters, line ends, marks that turn the direction of
//! writing) is shown as visible text first, by `rdarts_text`; then what means something in the markup is escaped.

use rdarts_text::escaped;

/// Text for XML, between tags and in attributes.
pub(crate) fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in visible(text).chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

/// Text for a string of DOT in double quotes. Graphviz reads escapes such as `\N` and entities such as `&amp;` there.
pub(crate) fn dot(text: &str) -> String {
    visible(text).replace('\\', "\\\\").replace('"', "\\\"").replace('&', "&amp;")
}

/// Text as it is to be read.
pub(crate) fn visible(text: &str) -> String {
    // Two places of Unicode that XML has no way to write.
    escaped(text).replace('\u{fffe}', "\\u{fffe}").replace('\u{ffff}', "\\u{ffff}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_marks_of_direction_are_shown_as_text() {
        assert_eq!(xml("<b a=\"1\">&'"), "&lt;b a=&quot;1&quot;&gt;&amp;&#39;");
        assert_eq!(xml("a\nb\u{0}"), "a\\nb\\u{0}");
        for mark in "\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{ffff}".chars() {
            assert_eq!(xml(&mark.to_string()), format!("\\u{{{:x}}}", u32::from(mark)));
        }
        assert_eq!(xml("Äpfel 猫"), "Äpfel 猫");
    }

    #[test]
    fn dot_sees_neither_quotes_nor_escapes_nor_entities() {
        assert_eq!(dot("a\"b\\N&lt;\n"), "a\\\"b\\\\N&amp;lt;\\\\n");
    }
}
