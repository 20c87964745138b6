//! The reader of `Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), ...)`.
//!
//! A recursive descent over the characters, without a token list: the notation has five fields and no
//! nesting of its own. Every entry keeps its offset, so that a fault that shows only when the whole is
//! checked (an input that does not exist yet, a concatenated node that is absent) names its line and column.

use crate::genotype::{Genotype, GenotypeError, GenotypeFault, Place};
use crate::nearest::{nearest, quote};
use crate::op::Op;
use crate::space::CellType;

/// Reads a genotype.
pub(crate) fn genotype(text: &str) -> Result<Genotype, GenotypeError> {
    let mut reader = Reader { text, at: 0 };
    read(&mut reader).map_err(|(at, fault)| {
        let before = &text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = 1 + before.bytes().filter(|&byte| byte == b'\n').count();
        GenotypeError { line, column: 1 + before[line_start..].chars().count(), fault }
    })
}

/// A fault and its byte offset.
type Located = (usize, GenotypeFault);

const FIELDS: [&str; 4] = ["normal", "normal_concat", "reduce", "reduce_concat"];

/// No cell is this large; a longer range would only fill the memory before it is refused.
const MAX_RANGE: usize = 1000;

/// A list and where it and its items begin.
struct Listed<T> {
    at: usize,
    items: Vec<T>,
    places: Vec<usize>,
}

fn read(reader: &mut Reader<'_>) -> Result<Genotype, Located> {
    const START: &str = "`Genotype(`";
    let mut name = reader.word(START)?;
    reader.skip_space();
    if name.1 != "Genotype" || reader.peek() == Some('=') {
        // This must be the name that the genotype is given, as in `DARTS_V2 = Genotype(...)`.
        reader.symbol('=', "`Genotype(`, or a name followed by `=`")?;
        name = reader.word(START)?;
    }
    if name.1 != "Genotype" {
        return Err((name.0, unexpected(START, quote(name.1))));
    }
    reader.symbol('(', "`(`")?;

    let (mut ops, mut concats) = ([None, None], [None, None]);
    loop {
        reader.skip_space();
        if reader.peek() == Some(')') {
            break;
        }
        let (at, name) = reader.word("a field such as `normal=`, or `)`")?;
        let Some(field) = FIELDS.iter().position(|&field| field == name) else {
            return Err((at, GenotypeFault::UnknownField { name: name.to_owned(), nearest: nearest(name, &FIELDS) }));
        };
        reader.symbol('=', "`=`")?;
        let is_repeated = if field % 2 == 0 {
            ops[field / 2]
                .replace(reader.list("a list of operations, such as `[('skip_connect', 0), ...]`", entry)?)
                .is_some()
        } else {
            concats[field / 2].replace(reader.concat()?).is_some()
        };
        if is_repeated {
            return Err((at, GenotypeFault::RepeatedField { name: FIELDS[field] }));
        }
        if !reader.comma() {
            break;
        }
    }
    let end = reader.at;
    reader.symbol(')', "`,` or `)`")?;
    reader.skip_space();
    if reader.peek().is_some() {
        return Err((reader.at, unexpected("nothing more after the genotype", reader.found())));
    }

    let missing = |field: usize| (end, GenotypeFault::MissingField { name: FIELDS[field] });
    let [normal, reduce] = ops;
    let [normal_concat, reduce_concat] = concats;
    let normal: Listed<(Op, usize)> = normal.ok_or_else(|| missing(0))?;
    let normal_concat: Listed<usize> = normal_concat.ok_or_else(|| missing(1))?;
    let reduce: Listed<(Op, usize)> = reduce.ok_or_else(|| missing(2))?;
    let reduce_concat: Listed<usize> = reduce_concat.ok_or_else(|| missing(3))?;
    let genotype = Genotype {
        normal: normal.items,
        normal_concat: normal_concat.items,
        reduce: reduce.items,
        reduce_concat: reduce_concat.items,
    };
    let Some((place, fault)) = genotype.first_fault() else {
        return Ok(genotype);
    };
    let at = match place {
        Place::Ops(CellType::Normal) => normal.at,
        Place::Ops(CellType::Reduce) => reduce.at,
        Place::Entry(CellType::Normal, i) => normal.places[i],
        Place::Entry(CellType::Reduce, i) => reduce.places[i],
        Place::Concat(CellType::Normal, i) => *normal_concat.places.get(i).unwrap_or(&normal_concat.at),
        Place::Concat(CellType::Reduce, i) => *reduce_concat.places.get(i).unwrap_or(&reduce_concat.at),
    };
    Err((at, fault))
}

/// One `('sep_conv_3x3', 0)`; Python's list brackets are accepted for the tuple's.
fn entry(reader: &mut Reader<'_>) -> Result<(Op, usize), Located> {
    reader.skip_space();
    let close = if reader.peek() == Some('[') { ']' } else { ')' };
    reader.symbol(if close == ']' { '[' } else { '(' }, "an entry such as `('skip_connect', 0)`, or `]`")?;
    let (at, name) = reader.string()?;
    let op = name.parse().map_err(|error| (at, GenotypeFault::UnknownOp(error)))?;
    reader.symbol(',', "`,` and the input")?;
    let (_, input) = reader.number("the number of an input")?;
    reader.comma();
    reader.symbol(close, if close == ']' { "`]`" } else { "`)`" })?;
    Ok((op, input))
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// Skips white space and comments.
    fn skip_space(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    /// What stands at the current place, for a message.
    fn found(&self) -> String {
        match self.peek() {
            None => "the end of the text".to_owned(),
            Some(first) => {
                let rest = &self.text[self.at..];
                let n_word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                quote(&rest[..n_word.max(first.len_utf8())])
            }
        }
    }

    fn fail<T>(&self, expected: &'static str) -> Result<T, Located> {
        Err((self.at, unexpected(expected, self.found())))
    }

    fn symbol(&mut self, symbol: char, expected: &'static str) -> Result<(), Located> {
        self.skip_space();
        if self.peek() != Some(symbol) {
            return self.fail(expected);
        }
        self.at += symbol.len_utf8();
        Ok(())
    }

    /// Whether a comma stands here; it is consumed.
    fn comma(&mut self) -> bool {
        self.symbol(',', "`,`").is_ok()
    }

    fn word(&mut self, expected: &'static str) -> Result<(usize, &'t str), Located> {
        self.skip_space();
        let (at, rest) = (self.at, &self.text[self.at..]);
        let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
            return self.fail(expected);
        }
        self.at += end;
        Ok((at, &rest[..end]))
    }

    fn number(&mut self, expected: &'static str) -> Result<(usize, usize), Located> {
        self.skip_space();
        let (at, rest) = (self.at, &self.text[self.at..]);
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        match rest[..end].parse() {
            Ok(number) => {
                self.at += end;
                Ok((at, number))
            }
            Err(_) => self.fail(expected),
        }
    }

    fn string(&mut self) -> Result<(usize, &'t str), Located> {
        const EXPECTED: &str = "the name of an operation in quotes";
        self.skip_space();
        let quote = match self.peek() {
            Some(quote @ ('\'' | '"')) => quote,
            _ => return self.fail(EXPECTED),
        };
        let (at, inside) = (self.at, &self.text[self.at + 1..]);
        match inside.find([quote, '\n']) {
            Some(end) if inside[end..].starts_with(quote) => {
                self.at += end + 2;
                Ok((at, &inside[..end]))
            }
            _ => Err((at, unexpected("a closing quote on the same line", "none".to_owned()))),
        }
    }

    fn list<T>(
        &mut self,
        expected: &'static str,
        item: impl Fn(&mut Self) -> Result<T, Located>,
    ) -> Result<Listed<T>, Located> {
        self.skip_space();
        let mut list = Listed { at: self.at, items: Vec::new(), places: Vec::new() };
        self.symbol('[', expected)?;
        loop {
            self.skip_space();
            if self.peek() == Some(']') {
                break;
            }
            list.places.push(self.at);
            list.items.push(item(self)?);
            if !self.comma() {
                break;
            }
        }
        self.symbol(']', "`,` or `]`")?;
        Ok(list)
    }

    /// `range(2, 6)` or `[2, 3, 4, 5]`.
    fn concat(&mut self) -> Result<Listed<usize>, Located> {
        const EXPECTED: &str = "nodes, such as `range(2, 6)` or `[2, 3, 4, 5]`";
        self.skip_space();
        if self.peek() == Some('[') {
            return self.list(EXPECTED, |reader| reader.number("the number of a node, or `]`").map(|read| read.1));
        }
        let (at, name) = self.word(EXPECTED)?;
        // In Python 3 a range is no list, so `list(range(2, 6))` is written too.
        let is_wrapped = name == "list";
        let name = if is_wrapped {
            self.symbol('(', "`(`")?;
            self.word("`range(`")?.1
        } else {
            name
        };
        if name != "range" {
            return Err((at, unexpected(EXPECTED, quote(name))));
        }
        self.symbol('(', "`(`")?;
        let (_, start) = self.number("the first node of the range")?;
        self.symbol(',', "`,` and the end of the range")?;
        let (end_at, end) = self.number("the end of the range")?;
        self.comma();
        self.symbol(')', "`)`")?;
        if is_wrapped {
            self.symbol(')', "`)`")?;
        }
        if end > MAX_RANGE {
            return Err((end_at, unexpected("the end of a range of nodes, at most 1000", end.to_string())));
        }
        let items: Vec<usize> = (start..end).collect();
        Ok(Listed { at, places: vec![at; items.len()], items })
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

fn unexpected(expected: &'static str, found: String) -> GenotypeFault {
    GenotypeFault::Unexpected { expected, found }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::genotype::tests::any_genotype;

    const TEXT: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('noise', 2), ('none', 0)], \
        normal_concat=range(2, 4), reduce=[('max_pool_3x3', 0), ('skip_connect', 1)], reduce_concat=[2])";

    #[test]
    fn the_loose_ways_of_writing_read_alike() {
        let strict: Genotype = TEXT.parse().unwrap();
        let loose = "\n  DARTS_V2 = Genotype (\n\treduce_concat = [ 2 , ],  # a comment, with ] and (\n\
            normal=[(\"sep_conv_3x3\",0),('skip_connect'\n,1,),['noise', 2],('none',0),],\n\
            reduce=[('max_pool_3x3', 0), ('skip_connect', 1)], normal_concat=list(range(2, 4)),\n) # the end";
        assert_eq!(loose.parse(), Ok(strict.clone()));
        assert_eq!(format!("Genotype = {TEXT}").parse(), Ok(strict.clone()));
        assert_eq!(TEXT.replace(", ", ",\r\n").parse(), Ok(strict));
    }

    #[test]
    fn the_published_genotypes_of_darts_and_amoebanet_read() {
        let darts: Genotype =
            "DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), \
            ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], \
            normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), \
            ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], \
            reduce_concat=[2, 3, 4, 5])"
                .parse()
                .unwrap();
        assert_eq!((darts.n_nodes(CellType::Normal), darts.n_uses(CellType::Normal, Op::SkipConnect)), (4, 2));
        assert!(darts.to_string().contains("reduce_concat=range(2, 6)"));
        let amoeba: Genotype = "Genotype(normal=[('avg_pool_3x3', 0), ('max_pool_3x3', 1), ('sep_conv_3x3', 0), \
            ('sep_conv_5x5', 2), ('sep_conv_3x3', 0), ('avg_pool_3x3', 3), ('sep_conv_3x3', 1), ('skip_connect', 1), \
            ('skip_connect', 0), ('avg_pool_3x3', 1)], normal_concat=[4, 5, 6], reduce=[('avg_pool_3x3', 0), \
            ('sep_conv_3x3', 1), ('max_pool_3x3', 0), ('sep_conv_7x7', 2), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1), \
            ('max_pool_3x3', 0), ('max_pool_3x3', 1), ('conv_7x1_1x7', 0), ('sep_conv_3x3', 5)], \
            reduce_concat=[3, 4, 6])"
            .parse()
            .unwrap();
        assert_eq!(amoeba.concat(CellType::Reduce), [3, 4, 6]);
    }

    #[test]
    fn malformed_text_is_refused_with_its_place_and_what_would_be_right() {
        // (what is replaced, by what, message); the replacement goes to a line of its own where it starts with \n.
        let rows = [
            (
                "'noise'",
                "\n'noisy'",
                "line 2, column 1: unknown operation `noisy`, the nearest known one is `noise`, and all are",
            ),
            (
                "('noise', 2)",
                "('noise', 3)",
                "line 1, column 60: `normal` lets node 1 read from input 3, but when it is computed only the inputs 0 to 2 exist",
            ),
            (
                "('skip_connect', 1)]",
                "\n ('skip_connect', 2)]",
                "line 2, column 2: `reduce` lets node 0 read from input 2, but when it is computed only the inputs 0 to 1 exist",
            ),
            (
                ", ('none', 0)",
                "",
                "line 1, column 17: `normal` lists 3 operations, but every node needs two, so the number must be even",
            ),
            (
                "range(2, 4)",
                "\n[2, 5]",
                "line 2, column 5: `normal_concat` names 5, but the nodes of this cell are 2 to 3",
            ),
            (
                "range(2, 4)",
                "\nrange(1, 4)",
                "line 2, column 1: `normal_concat` names 1, but the nodes of this cell are 2 to 3",
            ),
            ("range(2, 4)", "[3, 3]", "line 1, column 106: `normal_concat` names 3 twice"),
            (
                "range(2, 4)",
                "range(4, 4)",
                "line 1, column 102: `normal_concat` is empty, but the output of a cell needs at least one node",
            ),
            (
                "range(2, 4)",
                "range(2, 9999999999)",
                "line 1, column 111: expected the end of a range of nodes, at most 1000, found 9999999999",
            ),
            (
                "range(2, 4)",
                "rnge(2, 4)",
                "line 1, column 102: expected nodes, such as `range(2, 6)` or `[2, 3, 4, 5]`, found `rnge`",
            ),
            (
                "range(2, 4)",
                "4",
                "line 1, column 102: expected nodes, such as `range(2, 6)` or `[2, 3, 4, 5]`, found `4`",
            ),
            (", reduce_concat=[2]", "\n", "line 2, column 1: the field `reduce_concat` is missing"),
            (
                "reduce_concat",
                "normal",
                "line 1, column 174: expected an entry such as `('skip_connect', 0)`, or `]`, found `2`",
            ),
            ("reduce_concat", "normal_concat", "line 1, column 166: the field `normal_concat` is given twice"),
            (
                "reduce_concat",
                "reduce_conct",
                "line 1, column 166: unknown field `reduce_conct`, the nearest known one is `reduce_concat`, and the fields are",
            ),
            ("=[2])", "=[2]) + 1", "line 1, column 185: expected nothing more after the genotype, found `+`"),
            ("=[2])", "=[2]", "line 1, column 183: expected `,` or `)`, found the end of the text"),
            (
                "'noise'",
                "'noise",
                "line 1, column 61: unknown operation `noise, 2), (`, the nearest known one is `noise`, and all are",
            ),
            ("'noise'", "noise", "line 1, column 61: expected the name of an operation in quotes, found `noise`"),
            ("'noise', 2", "'noise', -2", "line 1, column 70: expected the number of an input, found `-`"),
            (
                "'noise', 2",
                "'noise', 99999999999999999999999",
                "line 1, column 70: expected the number of an input, found",
            ),
            ("Genotype(", "Cell(", "line 1, column 5: expected `Genotype(`, or a name followed by `=`, found `(`"),
            ("Genotype(", "X = Cell(", "line 1, column 5: expected `Genotype(`, found `Cell`"),
        ];
        for (from, to, message) in rows {
            let text = TEXT.replacen(from, to, 1);
            assert_ne!(text, TEXT);
            match text.parse::<Genotype>() {
                Ok(_) => panic!("{text} was read"),
                Err(error) => assert!(error.to_string().starts_with(message), "{text}\n{error}\n{message}"),
            }
        }
        let error = "".parse::<Genotype>().unwrap_err().to_string();
        assert_eq!(error, "line 1, column 1: expected `Genotype(`, found the end of the text");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC*") {
            let _ = text.parse::<Genotype>();
        }

        #[test]
        fn damaged_text_never_panics_and_its_place_lies_inside(
            genotype in any_genotype(3), at in 0usize..400, n_cut in 0usize..20, insert in "[()\\[\\]=,'\"#é\n0-9a-z ]{0,3}",
        ) {
            let mut chars: Vec<char> = genotype.to_string().chars().collect();
            let at = at.min(chars.len());
            chars.splice(at..(at + n_cut).min(chars.len()), insert.chars());
            let text: String = chars.into_iter().collect();
            match text.parse::<Genotype>() {
                Ok(read) => prop_assert_eq!(read.check(), Ok(())),
                Err(error) => {
                    let line = text.split('\n').nth(error.line - 1);
                    prop_assert!(line.is_some_and(|line| error.column <= line.chars().count() + 1), "{}", error);
                }
            }
        }
    }
}
