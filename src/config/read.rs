//! From text to tables, with every error and not only the first: what cannot be read is reported and taken out, and the
//! rest is read again.

use super::problems::{Places, Problem};
use super::tables::Config;
use serde::Deserialize;
use std::collections::HashSet;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// More errors than this are not told.
const MOST_ERRORS: usize = 200;

/// What a text gave.
pub(super) struct Read {
    /// The tables that could be read; `None` where there is no use in going on.
    pub(super) config: Option<Config>,
    /// Where they stand.
    pub(super) places: Places,
    /// The names of all destinations, also of those that could not be read: routes may rightly name them.
    pub(super) destinations: HashSet<String>,
    /// What could not be read.
    pub(super) problems: Vec<Problem>,
}

pub(super) fn read(text: &str) -> Read {
    let mut out = Read { config: None, places: Places::default(), destinations: HashSet::new(), problems: Vec::new() };
    let lines = Lines::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let at = |e: &toml::de::Error| e.span().map_or(1, |span| lines.of(span.start));
        out.problems = errors.iter().take(MOST_ERRORS).map(|e| Problem::error(at(e), e.message())).collect();
        return out;
    }
    let span = root.span();
    let mut root = Spanned::new(span, DeValue::Table(root.into_inner()));
    out.destinations = destination_names(&root);
    out.config = read_on(&mut root, &lines, &mut out.problems);
    note_places(&root, String::new(), &lines, &mut out.places);
    out
}

/// A key of a table, by where the table begins in the file.
type Place = (usize, String);

/// Reads, and on an error takes out what it is about and reads again.
fn read_on(root: &mut Spanned<DeValue<'_>>, lines: &Lines, problems: &mut Vec<Problem>) -> Option<Config> {
    // What was there and was taken out: that it is missing then is no error of the file.
    let mut taken: HashSet<Place> = HashSet::new();
    loop {
        let error = match Config::deserialize(ValueDeserializer::from(root.clone())) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        if problems.len() >= MOST_ERRORS {
            return None;
        }
        let span = error.span().unwrap_or_else(|| root.span());
        let missing = missing_field(error.message()).map(String::from);
        let told = missing.as_ref().is_some_and(|key| taken.contains(&(span.start, key.clone())));
        if !told {
            problems.push(Problem::error(lines.of(span.start), explained(error.message())));
        }
        if missing.is_some() && span == root.span() {
            // Only [node] can be missing there: a stand-in lets the rest be checked as well.
            if !insert_node(root) {
                return None;
            }
            continue;
        }
        // Without a culprit there is nothing to take out.
        taken.insert(culprit(root, &span, missing.is_some())?);
    }
}

/// Takes out what the error is about: for a missing key the table around it, else the innermost entry of a table.
fn culprit(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>, whole_table: bool) -> Option<Place> {
    let start = value.span().start;
    match value.get_mut() {
        DeValue::Table(table) => {
            let about =
                |(key, value): &(&Spanned<_>, &Spanned<DeValue<'_>>)| around(&key.span(), span) || holds(value, span);
            let key = table.iter().find(about).map(|(key, _)| key.get_ref().to_string())?;
            let inner = table.get_mut(key.as_str())?;
            // The first of several [[tables]] begins where their list does.
            let exact = whole_table && inner.get_ref().is_table() && inner.span() == *span;
            if !exact && let Some(place) = culprit(inner, span, whole_table) {
                return Some(place);
            }
            table.remove(key.as_str());
            Some((start, key))
        }
        DeValue::Array(array) => {
            let at = array.iter().position(|v| v.get_ref().is_table() && holds(v, span))?;
            let inner = array.as_mut().get_mut(at)?;
            let exact = whole_table && inner.span() == *span;
            if !exact && let Some(place) = culprit(inner, span, whole_table) {
                return Some(place);
            }
            *array = array.clone().into_iter().enumerate().filter(|(index, _)| *index != at).map(|(_, v)| v).collect();
            Some((start, format!("[{at}]")))
        }
        _ => None,
    }
}

fn around(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Is the span within the value? The span of a table with a header ends at the header; its entries stand behind it.
fn holds(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    around(&value.span(), span)
        || match value.get_ref() {
            DeValue::Table(table) => table.iter().any(|(key, value)| around(&key.span(), span) || holds(value, span)),
            DeValue::Array(array) => array.iter().any(|value| holds(value, span)),
            _ => false,
        }
}

/// A stand-in, so that the rest can be checked as well.
fn insert_node(root: &mut Spanned<DeValue<'_>>) -> bool {
    let (DeValue::Table(table), Ok(stand_in)) =
        (root.get_mut(), DeTable::parse("node={ae_title=\"X\",state_dir=\"x\"}"))
    else {
        return false;
    };
    table.extend(stand_in.into_inner());
    true
}

fn destination_names(root: &Spanned<DeValue<'_>>) -> HashSet<String> {
    let name = |table: &Spanned<DeValue<'_>>| Some(table.get_ref().get("name")?.get_ref().as_str()?.to_string());
    let tables = root.get_ref().get("destination").and_then(|d| d.get_ref().as_array());
    tables.into_iter().flatten().filter_map(name).collect()
}

fn note_places(value: &Spanned<DeValue<'_>>, path: String, lines: &Lines, places: &mut Places) {
    match value.get_ref() {
        DeValue::Table(table) => {
            for (key, value) in table {
                let path =
                    if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
                places.insert(path.clone(), lines.of(key.span().start));
                note_places(value, path, lines, places);
            }
        }
        DeValue::Array(array) => {
            for (index, value) in array.iter().enumerate() {
                let path = format!("{path}[{index}]");
                places.insert(path.clone(), lines.of(value.span().start));
                note_places(value, path, lines, places);
            }
        }
        _ => {}
    }
}

/// Where lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Lines {
        Lines(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line of an offset, from 1.
    fn of(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

/// serde's words, with what helps: the nearest known key, and how a duration or a size is written.
fn explained(message: &str) -> String {
    if let Some(key) = missing_field(message) {
        return match key {
            "node" => "the table [node] is missing: it needs ae_title and state_dir".into(),
            _ => format!("the key `{key}` is missing"),
        };
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    if let (true, Some(found)) = (unknown, quoted.next()) {
        let known: Vec<&str> = quoted.collect();
        let what = if message.starts_with("unknown field") { "key" } else { "value" };
        let nearest = nearest(found, &known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        return format!("unknown {what} `{found}`{nearest} (known: {})", known.join(", "));
    }
    if message.ends_with("expected a duration") {
        return format!("{message} such as \"30s\", \"5m\" or \"1h 30m\"");
    }
    let mut plain = message.trim_end().replace('\n', " ");
    for (theirs, ours) in [
        ("expected a sequence", "expected a list in brackets: [\"…\"]"),
        ("expected usize", "expected a whole number, not negative"),
        ("expected u32", "expected a whole number, not negative"),
        ("expected parsable string", "expected a size such as \"2 GiB\""),
    ] {
        plain = plain.replace(theirs, ours);
    }
    plain
}

fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = found.to_lowercase();
    let near = known.iter().map(|key| (distance(&lower, &key.to_lowercase()), *key)).min()?;
    (near.0 <= 1 + found.len() / 3).then_some(near.1)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut before = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let cost = if from == *to { before } else { before + 1 };
            before = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(before + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}
