//! The reader of `Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), ...)` and its relatives.
//!
//! A recursive descent over the characters, without a token list. People keep genotypes as the printed notation, as
//! dictionaries of Python or JSON, with NumPy's numbers, inside quotes, in lines of logs; they differ in brackets and
//! wrappers only, so one reader takes them all. Every entry keeps its offset, so that a fault that shows only when the
//! whole is checked (an input that does not exist yet, a concatenated node that is absent) names its line and column.

use std::str::FromStr;

use rdarts_text::{nearest, quote};

use crate::genotype::{Genotype, GenotypeError, GenotypeFault, GenotypeReadError, Place};
use crate::op::Op;
use crate::space::CellType;
use crate::topology::Topology;

impl Genotype {
    /// Reads a genotype from a file's bytes; `origin` is how messages call them, usually the file's path.
    ///
    /// Beside the notation of the DARTS code: dictionaries of Python and JSON; lists or tuples, flat or with a list for
    /// each node; numbers as NumPy prints them; a quoted whole; `reduce=None` or neither of its fields; what a log or an assignment has before
    /// `Genotype(` on its line; comments, trailing commas, a byte-order mark. A cell of NAS-Bench-201 begins with `|`.
    ///
    /// ```
    /// let text = "10:15 genotype = Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=[2],
    ///     reduce=None, reduce_concat=None)";
    /// let genotype = rdarts_space::Genotype::read(text, "log.txt")?;
    /// assert!(genotype.reduce.is_empty());
    /// # Ok::<(), rdarts_space::GenotypeReadError>(())
    /// ```
    pub fn read(bytes: impl AsRef<[u8]>, origin: &str) -> Result<Self, GenotypeReadError> {
        let bytes = bytes.as_ref();
        let error = match std::str::from_utf8(bytes) {
            Ok(text) => match genotype(text) {
                Ok(genotype) => return Ok(genotype),
                Err(error) => error,
            },
            Err(error) => {
                let sound = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
                at(sound, sound.len(), GenotypeFault::NotText)
            }
        };
        Err(GenotypeReadError { origin: origin.to_owned(), error })
    }

    /// Every `Genotype(...)` of a longer text, such as a log with one for each epoch or a file of named ones, in the order
    /// in which they stand there; `origin` is how messages call the text.
    ///
    /// ```
    /// let log = "10:15 args = Namespace(seed=2)
    /// 10:20 genotype = Genotype(normal=[('none', 0), ('noise', 1)], normal_concat=[2])
    /// 10:25 genotype = Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=[2])
    /// 10:25 valid_acc 87.3";
    /// let found = rdarts_space::Genotype::find_all(log, "log.txt");
    /// assert_eq!(found.iter().map(|found| found.line).collect::<Vec<_>>(), [2, 3]);
    /// assert!(found.iter().all(|found| found.genotype.is_ok() && found.name.is_none()));
    /// ```
    pub fn find_all(text: &str, origin: &str) -> Vec<Found> {
        let mut all = Vec::new();
        let (mut from, mut line, mut counted) = (0, 1, 0);
        let mut named = next_named(text, 0, text.len());
        loop {
            // No part of the text is searched twice.
            if named.is_some_and(|(begin, _)| begin < from) {
                named = next_named(text, from, text.len());
            }
            let cell = next_cell(text, from, named.map_or(text.len(), |(begin, _)| begin));
            let is_cell = cell.is_some();
            let Some((begin, open)) = cell.map(|cell| (cell, cell)).or(named) else { break };
            line += text[counted..begin].bytes().filter(|&byte| byte == b'\n').count();
            counted = begin;
            let mut reader = Reader { text, at: open };
            let read = if is_cell { whole_cell(&mut reader) } else { fields(&mut reader) };
            // What was taken for part of a genotype is not searched for another one.
            from = reader.at.max(begin + if is_cell { 1 } else { NAME.len() });
            let genotype = read.map_err(|(offset, fault)| GenotypeReadError {
                origin: origin.to_owned(),
                error: at(text, offset, fault),
            });
            let before = if is_cell { text[..begin].trim_end_matches(['"', '\'']) } else { &text[..begin] };
            all.push(Found { line, name: given_name(before).map(str::to_owned), genotype });
        }
        all
    }
}

/// A genotype in a longer text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The line on which it begins, counted from 1.
    pub line: usize,
    /// The name that it is given where its line begins with one, as `DARTS_V2` in `DARTS_V2 = Genotype(...)`.
    pub name: Option<String>,
    /// Itself, or what is wrong with it.
    pub genotype: Result<Genotype, GenotypeReadError>,
}

impl FromStr for Genotype {
    type Err = GenotypeError;

    /// Reads a genotype in any of the forms of [`Genotype::read`].
    fn from_str(text: &str) -> Result<Self, GenotypeError> {
        genotype(text)
    }
}

/// Reads a genotype.
fn genotype(text: &str) -> Result<Genotype, GenotypeError> {
    let mut reader = Reader { text, at: 0 };
    read(&mut reader).map_err(|(offset, fault)| at(text, offset, fault))
}

/// A fault with the line and the column of its byte offset.
fn at(text: &str, offset: usize, fault: GenotypeFault) -> GenotypeError {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = 1 + before.bytes().filter(|&byte| byte == b'\n').count();
    let column = 1 + before[line_start..].chars().filter(|&c| c != BYTE_ORDER_MARK).count();
    GenotypeError { line, column, fault }
}

/// A fault and its byte offset.
type Located = (usize, GenotypeFault);

/// What the notation begins with.
const NAME: &str = "Genotype";

/// The last one is there only where cells are not wired as in DARTS.
const FIELDS: [&str; 5] = ["normal", "normal_concat", "reduce", "reduce_concat", "topology"];

/// No cell is this large; a longer range would only fill the memory before it is refused.
const MAX_RANGE: usize = 1000;

/// Invisible at the beginning of files that some editors write.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A list and where it and its items begin.
struct Listed<T> {
    at: usize,
    items: Vec<T>,
    places: Vec<usize>,
}

impl<T> Listed<T> {
    fn empty(at: usize) -> Self {
        Self { at, items: Vec::new(), places: Vec::new() }
    }
}

/// A genotype with nothing but what may stand around one.
fn read(reader: &mut Reader<'_>) -> Result<Genotype, Located> {
    let opening_quote = start(reader)?;
    let genotype = if reader.peek() == Some('|') { whole_cell(reader)? } else { fields(reader)? };
    if let Some(quotes) = opening_quote {
        reader.skip_space();
        if !reader.text[reader.at..].starts_with(quotes) {
            return reader.fail("the closing quote of the genotype");
        }
        reader.at += quotes.len();
    }
    reader.skip_space();
    if let Some(',' | ';') = reader.peek() {
        reader.at += 1;
        reader.skip_space();
    }
    match reader.peek() {
        None => Ok(genotype),
        Some(_) => Err((reader.at, unexpected("nothing more after the genotype", reader.found()))),
    }
}

/// A genotype from the bracket that opens its fields to the one that closes them.
fn fields(reader: &mut Reader<'_>) -> Result<Genotype, Located> {
    let is_dictionary = reader.peek() == Some('{');
    let (open, close, assign) = if is_dictionary { ('{', '}', ':') } else { ('(', ')', '=') };
    reader.symbol(open, "`(`")?;

    let (mut ops, mut concats, mut topology) = ([None, None], [None, None], None);
    loop {
        reader.skip_space();
        if reader.peek() == Some(close) {
            break;
        }
        let (at, name) = if is_dictionary {
            reader.string("a field such as `'normal':`, or `}`", "a field in quotes")?
        } else {
            reader.word("a field such as `normal=`, or `)`")?
        };
        let Some(field) = FIELDS.iter().position(|&field| field == name) else {
            return Err((at, GenotypeFault::UnknownField { name: name.to_owned(), nearest: nearest(name, &FIELDS) }));
        };
        reader.symbol(assign, if is_dictionary { "`:`" } else { "`=`" })?;
        // Only the reduction cell may be absent.
        let (cell, may_be_none) = (FIELDS[field / 2 * 2], field >= 2);
        let is_repeated = if field == 4 {
            topology.replace(reader.topology()?).is_some()
        } else if field % 2 == 0 {
            ops[field / 2].replace(reader.ops(cell, may_be_none)?).is_some()
        } else {
            concats[field / 2].replace(reader.concat(may_be_none)?).is_some()
        };
        if is_repeated {
            return Err((at, GenotypeFault::RepeatedField { name: FIELDS[field] }));
        }
        if !reader.comma() {
            break;
        }
    }
    let end = reader.at;
    reader.symbol(close, if is_dictionary { "`,` or `}`" } else { "`,` or `)`" })?;

    let missing = |field: usize| (end, GenotypeFault::MissingField { name: FIELDS[field] });
    let [normal, reduce] = ops;
    let [normal_concat, reduce_concat] = concats;
    let normal: Listed<(Op, usize)> = normal.ok_or_else(|| missing(0))?;
    let normal_concat: Listed<usize> = normal_concat.ok_or_else(|| missing(1))?;
    let (reduce, reduce_concat): (Listed<(Op, usize)>, Listed<usize>) = match (reduce, reduce_concat) {
        (Some(reduce), Some(concat)) => (reduce, concat),
        // Neither is given where a network has no reduction cell.
        (None, None) => (Listed::empty(end), Listed::empty(end)),
        (None, Some(_)) => return Err(missing(2)),
        (Some(_), None) => return Err(missing(3)),
    };
    let genotype = Genotype {
        normal: normal.items,
        normal_concat: normal_concat.items,
        reduce: reduce.items,
        reduce_concat: reduce_concat.items,
        topology: topology.unwrap_or_default(),
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

/// Where the next cell of NAS-Bench-201 begins, at a `|` before a word, `~` and a digit.
fn next_cell(text: &str, from: usize, to: usize) -> Option<usize> {
    let is_cell = |begin: &usize| {
        let rest = &text[begin + 1..];
        let input = rest.trim_start_matches(is_word);
        let number = input.strip_prefix('~').is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()));
        number && input.len() < rest.len()
    };
    text.get(from..to)?.match_indices('|').map(|(at, _)| from + at).find(is_cell)
}

/// A cell of NAS-Bench-201: `|op~0|+|op~0|op~1|`, and so on.
fn whole_cell(reader: &mut Reader<'_>) -> Result<Genotype, Located> {
    const EXPECTED: &str = "an operation and its input, such as `skip_connect~0`";
    let begin = reader.at;
    let (mut normal, mut places) = (Vec::new(), Vec::new());
    loop {
        reader.symbol('|', "`|`")?;
        loop {
            let (at, name) = reader.word(EXPECTED)?;
            let op = name.parse().map_err(|error| (at, GenotypeFault::UnknownOp(error)))?;
            if reader.symbol('~', EXPECTED).is_err() {
                return Err((at, unexpected(EXPECTED, quote(name))));
            }
            let (_, input) = reader.number("the number of an input")?;
            normal.push((op, input));
            places.push(at);
            reader.symbol('|', "`|`")?;
            // A word on the next line is no operation of this node.
            let rest = reader.text[reader.at..].split('\n').next().unwrap_or_default();
            if !rest.trim_start().starts_with(is_word) {
                break;
            }
        }
        if reader.symbol('+', "`+`").is_err() {
            break;
        }
    }
    let topology = Topology::NasBench201;
    let last = topology.nodes_of(normal.len()).unwrap_or_default();
    let genotype =
        Genotype { normal, normal_concat: vec![last], reduce: Vec::new(), reduce_concat: Vec::new(), topology };
    match genotype.first_fault() {
        None => Ok(genotype),
        Some((Place::Entry(_, i), fault)) => Err((places[i], fault)),
        Some((_, fault)) => Err((begin, fault)),
    }
}

/// Goes to the bracket that opens the fields, and says which quotes stand around the whole.
fn start<'t>(reader: &mut Reader<'t>) -> Result<Option<&'t str>, Located> {
    const START: &str = "`Genotype(`";
    reader.skip_space();
    // Only this line's own text, such as a log's time or a name that it is given, may stand before it.
    let line_end = reader.text[reader.at..].find('\n').map_or(reader.text.len(), |length| reader.at + length);
    if let Some((begin, open)) = next_named(reader.text, reader.at, line_end) {
        reader.at = open;
        return Ok(quotes_before(&reader.text[..begin]));
    }
    let line = reader.text[reader.at..].lines().next().unwrap_or_default();
    if let Some(bar) = line.find('|') {
        // In quotes or behind a name, as a dictionary.
        let before = &line[..bar];
        let name = before.trim_end_matches(['\'', '"']).trim_end();
        if name.is_empty() || name.ends_with(['=', ':']) {
            reader.at += bar;
            return Ok(quotes_before(before));
        }
    }
    if let Some(brace) = line.find('{') {
        // A dictionary: alone, in quotes, or behind a name and `=` or `:`.
        let before = &line[..brace];
        let name = before.trim_end_matches(['\'', '"']).trim_end();
        if name.is_empty() || name.ends_with(['=', ':']) {
            let quotes = quotes_before(before);
            reader.at += brace;
            return Ok(quotes);
        }
    }
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
    reader.skip_space();
    Ok(None)
}

/// Where the first `Genotype(` between two places begins, and where its bracket stands.
fn next_named(text: &str, from: usize, to: usize) -> Option<(usize, usize)> {
    text[from..to].match_indices(NAME).find_map(|(offset, _)| {
        let begin = from + offset;
        // `genotypes.Genotype(` is one too, `MyGenotype(` is not.
        let is_whole = !text[..begin].ends_with(|c: char| is_word(c) && c != '.');
        let after = text[begin + NAME.len()..].trim_start();
        (is_whole && after.starts_with('(')).then_some((begin, text.len() - after.len()))
    })
}

/// The name that is given to what follows `text`, if nothing else stands on its last line.
fn given_name(text: &str) -> Option<&str> {
    let line = text.rsplit('\n').next()?.trim_start_matches(BYTE_ORDER_MARK);
    // `genotypes.Genotype(` begins with its module.
    let line = line.trim_end_matches(|c: char| is_word(c));
    let name = line.trim_end().strip_suffix('=')?.trim();
    (!name.is_empty() && name.chars().all(is_word)).then_some(name)
}

/// The quotes that `text` ends with.
fn quotes_before(text: &str) -> Option<&str> {
    let quotes = &text[text.trim_end_matches(['\'', '"']).len()..];
    (!quotes.is_empty()).then_some(quotes)
}

/// One `('sep_conv_3x3', 0)`; Python's list brackets are accepted for the tuple's.
fn entry(reader: &mut Reader<'_>) -> Result<(Op, usize), Located> {
    const EXPECTED: &str = "an entry such as `('skip_connect', 0)`, or `]`";
    let close = reader.open(EXPECTED)?;
    let wrapped = reader.wrapper(&["str", "str_"])?;
    let (at, name) = reader.string("the name of an operation in quotes", "a closing quote on the same line")?;
    reader.close_wrapper(wrapped)?;
    let op = name.parse().map_err(|error| (at, GenotypeFault::UnknownOp(error)))?;
    reader.symbol(',', "`,` and the input")?;
    let (_, input) = reader.number("the number of an input")?;
    reader.comma();
    reader.symbol(close, if close == ']' { "`]`" } else { "`)`" })?;
    Ok((op, input))
}

/// What NumPy and PyTorch call their whole numbers.
const NUMBERS: [&str; 11] =
    ["int", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "intp", "tensor"];

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// Skips white space, comments, and a byte-order mark.
    fn skip_space(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK);
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

    /// Consumes the bracket that opens a list or a tuple, and gives the one that closes it.
    fn open(&mut self, expected: &'static str) -> Result<char, Located> {
        self.skip_space();
        let close = if self.peek() == Some('(') { ')' } else { ']' };
        self.symbol(if close == ')' { '(' } else { '[' }, expected)?;
        Ok(close)
    }

    /// Whether a call such as `np.int64(` stands here, of one of these names; it is consumed.
    fn wrapper(&mut self, names: &[&str]) -> Result<bool, Located> {
        self.skip_space();
        let before = self.at;
        if let Ok((_, name)) = self.word("a name") {
            let name = name.rsplit('.').next().unwrap_or(name);
            if names.contains(&name) {
                self.symbol('(', "`(`")?;
                return Ok(true);
            }
        }
        self.at = before;
        Ok(false)
    }

    fn close_wrapper(&mut self, is_wrapped: bool) -> Result<(), Located> {
        if is_wrapped { self.symbol(')', "`)`") } else { Ok(()) }
    }

    /// Whether `None` or JSON's `null` stands here; it is consumed.
    fn none(&mut self) -> bool {
        let before = self.at;
        let is_none = self.word("`None`").is_ok_and(|(_, word)| word == "None" || word == "null");
        if !is_none {
            self.at = before;
        }
        is_none
    }

    /// The name of a topology in quotes.
    fn topology(&mut self) -> Result<Topology, Located> {
        const EXPECTED: &str = "`darts` or `nasbench201` in quotes";
        let (at, name) = self.string(EXPECTED, EXPECTED)?;
        let found = Topology::ALL.into_iter().find(|topology| topology.as_str() == name);
        found.ok_or_else(|| (at, unexpected(EXPECTED, quote(name))))
    }

    fn number(&mut self, expected: &'static str) -> Result<(usize, usize), Located> {
        // NumPy 2 prints `np.int64(0)` for its numbers.
        let wrapped = self.wrapper(&NUMBERS)?;
        self.skip_space();
        let (at, rest) = (self.at, &self.text[self.at..]);
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let Ok(number) = rest[..end].parse() else {
            return self.fail(expected);
        };
        self.at += end;
        self.close_wrapper(wrapped)?;
        Ok((at, number))
    }

    /// A text in quotes, which may be escaped since the whole may stand in quotes itself.
    fn string(&mut self, expected: &'static str, expected_end: &'static str) -> Result<(usize, &'t str), Located> {
        self.skip_space();
        let at = self.at;
        let rest = &self.text[at..];
        let rest = rest.strip_prefix('u').filter(|rest| rest.starts_with(['\'', '"'])).unwrap_or(rest);
        let is_escaped = rest.starts_with('\\');
        let rest = if is_escaped { &rest[1..] } else { rest };
        let quote = match rest.chars().next() {
            Some(quote @ ('\'' | '"')) => quote,
            _ => return self.fail(expected),
        };
        let inside = &rest[1..];
        match inside.find([quote, '\n']) {
            Some(end) if inside[end..].starts_with(quote) => {
                self.at = self.text.len() - inside.len() + end + 1;
                let name = &inside[..end];
                Ok((at, if is_escaped { name.strip_suffix('\\').unwrap_or(name) } else { name }))
            }
            _ => Err((at, unexpected(expected_end, "none".to_owned()))),
        }
    }

    /// The operations of a cell: entries, or a list of two entries for each node.
    fn ops(&mut self, cell: &'static str, may_be_none: bool) -> Result<Listed<(Op, usize)>, Located> {
        const EXPECTED: &str = "a list of operations, such as `[('skip_connect', 0), ...]`";
        self.skip_space();
        let at = self.at;
        if may_be_none && self.none() {
            return Ok(Listed::empty(at));
        }
        let groups = self.list(EXPECTED, |reader| {
            reader.skip_space();
            let at = reader.at;
            let mut inside = Reader { text: reader.text, at };
            let is_group = inside.open("").is_ok() && {
                inside.skip_space();
                matches!(inside.peek(), Some('[' | '('))
            };
            if !is_group {
                let item = entry(reader)?;
                return Ok((false, Listed { at, items: vec![item], places: vec![at] }));
            }
            Ok((true, reader.list(EXPECTED, entry)?))
        })?;
        let mut all = Listed::empty(at);
        for (node, (is_group, group)) in groups.items.into_iter().enumerate() {
            let given = group.items.len();
            if is_group && given != 2 {
                return Err((group.at, GenotypeFault::NotTwo { cell, node, given }));
            }
            all.items.extend(group.items);
            all.places.extend(group.places);
        }
        Ok(all)
    }

    fn list<T>(
        &mut self,
        expected: &'static str,
        item: impl Fn(&mut Self) -> Result<T, Located>,
    ) -> Result<Listed<T>, Located> {
        self.skip_space();
        let mut list = Listed::empty(self.at);
        let close = self.open(expected)?;
        loop {
            self.skip_space();
            if self.peek() == Some(close) {
                break;
            }
            list.places.push(self.at);
            list.items.push(item(self)?);
            if !self.comma() {
                break;
            }
        }
        self.symbol(close, if close == ']' { "`,` or `]`" } else { "`,` or `)`" })?;
        Ok(list)
    }

    /// `range(2, 6)` or `[2, 3, 4, 5]`.
    fn concat(&mut self, may_be_none: bool) -> Result<Listed<usize>, Located> {
        const EXPECTED: &str = "nodes, such as `range(2, 6)` or `[2, 3, 4, 5]`";
        self.skip_space();
        let start = self.at;
        if may_be_none && self.none() {
            return Ok(Listed::empty(start));
        }
        // In Python 3 a range is no list, so `list(range(2, 6))` is written too; NumPy prints `array([2, 3])`.
        let is_wrapped = self.wrapper(&["list", "tuple", "array"])?;
        self.skip_space();
        if let Some('[' | '(') = self.peek() {
            let list =
                self.list(EXPECTED, |reader| reader.number("the number of a node, or `]`").map(|read| read.1))?;
            self.close_wrapper(is_wrapped)?;
            return Ok(list);
        }
        let (at, name) = self.word(EXPECTED)?;
        if name != "range" {
            return Err((at, unexpected(EXPECTED, quote(name))));
        }
        self.symbol('(', "`(`")?;
        let (_, start) = self.number("the first node of the range")?;
        self.symbol(',', "`,` and the end of the range")?;
        let (end_at, end) = self.number("the end of the range")?;
        self.comma();
        self.symbol(')', "`)`")?;
        self.close_wrapper(is_wrapped)?;
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
            ("'noise'", "'noise", "line 1, column 61: unknown operation `noise, 2), (`, and all are"),
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

    #[test]
    fn every_genotype_of_a_longer_text_is_found() {
        let other = TEXT.replace("'noise'", "'none'");
        let broken = TEXT.replace("'noise'", "'noisy'");
        let log = format!(
            "11/03 10:15:00 AM gpu device = 0\n11/03 10:15:00 AM args = Namespace(arch='Genotype', seed=2)\n\
             11/03 10:20:00 AM epoch 0 lr 2.5e-02\n11/03 10:20:01 AM genotype = {TEXT}\ntensor([[0.1]])\r\n\
             11/03 10:25:01 AM genotype = {broken}\n11/03 10:30:01 AM genotype = {other}\nvalid_acc 88.1 ({TEXT}, \
             OrderedDict([('a', 1)]))\nGenotype(normal=[('sep_co"
        );
        let found = Genotype::find_all(&log, "log.txt");
        assert_eq!(found.iter().map(|found| found.line).collect::<Vec<_>>(), [4, 6, 7, 8, 9]);
        assert!(found.iter().all(|found| found.name.is_none()));
        let of = |i: usize| found[i].genotype.clone().map_err(|error| error.to_string());
        assert_eq!((of(0), of(2), of(3)), (Ok(TEXT.parse().unwrap()), Ok(other.parse().unwrap()), of(0)));
        let refused = |i: usize| of(i).unwrap_err();
        assert!(refused(1).starts_with("log.txt, line 6, column 90: unknown operation `noisy`"), "{}", refused(1));
        assert!(refused(4).starts_with("log.txt, line 9, column 19: expected a closing quote"), "{}", refused(4));

        let page = format!(
            "from collections import namedtuple\n\nGenotype = namedtuple('Genotype', 'normal normal_concat')\n\n\
             A = {}\n\nDARTS_V1 = genotypes.{other}\nDARTS_V2=Genotype (\n  {}\nDARTS = DARTS_V2\n",
            TEXT.replace(", ", ",\n    "),
            &TEXT["Genotype(".len()..],
        );
        let found = Genotype::find_all(&page, "genotypes.py");
        let names: Vec<&str> = found.iter().filter_map(|found| found.name.as_deref()).collect();
        assert_eq!(names, ["A", "DARTS_V1", "DARTS_V2"]);
        assert!(found.iter().all(|found| found.genotype.is_ok()), "{found:?}");
        assert_eq!(found[2].genotype, found[0].genotype);
    }

    #[test]
    fn cells_of_nas_bench_201_are_found_in_logs_and_pages() {
        let (one, two) = ("|nor_conv_3x3~0|", "|skip_connect~0|+|none~0|avg_pool_3x3~1|");
        let text =
            format!("Epoch 3 of 9 | genotype: {one}\nvalid accuracy 87\nA = \"{two}\"\nB = {TEXT}\n|nor_conv~0|\n");
        let found = Genotype::find_all(&text, "log.txt");
        assert_eq!(found.iter().map(|found| found.line).collect::<Vec<_>>(), [1, 3, 4, 5]);
        let names: Vec<Option<&str>> = found.iter().map(|found| found.name.as_deref()).collect();
        assert_eq!(names, [None, Some("A"), Some("B"), None]);
        let expected = [one, two, TEXT].map(|text| Ok(text.parse::<Genotype>().unwrap()));
        assert!(found.iter().map(|found| found.genotype.clone()).take(3).eq(expected));
        assert!(
            found[3]
                .genotype
                .as_ref()
                .unwrap_err()
                .to_string()
                .contains("line 5, column 2: unknown operation `nor_conv`")
        );
        // A word on the next line is no operation, but not nothing either.
        let more = Genotype::read(format!("{one}\nvalid accuracy 87\n"), "log.txt").unwrap_err().to_string();
        assert!(more.contains("line 2, column 1") && !more.contains("unknown operation"), "{more}");
        let twice = "Genotype(normal=[('none', 0)], normal_concat=[1], topology='darts', topology='nasbench201')";
        assert!(twice.parse::<Genotype>().unwrap_err().to_string().contains("`topology` is given twice"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC*") {
            let _ = text.parse::<Genotype>();
            let _ = Genotype::find_all(&format!("{text} = Genotype({text}"), "x");
            let _ = Genotype::find_all(&format!("|{text}~0||none~0{text}"), "x");
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
