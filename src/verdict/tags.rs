//! What the tags of a series say beside the region that its images show.

use super::{Kind, Rules, Seen};
use crate::anatomy::{self, Region, Tag};
use std::collections::BTreeSet;

/// What all tags of a series come to.
pub(super) struct Weighed {
    pub(super) kind: Kind,
    /// No value that is there would change by writing: every tag is empty, or the defined term already.
    pub(super) nothing_there_changes: bool,
    /// Half a sentence.
    pub(super) reason: String,
}

/// What one instance says beside a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    Neighbour,
    Unreadable,
    Other,
    General,
    Empty,
    Synonym,
    Right,
}

/// Weighs the tags of all instances, scored or not: what is written is written to all of them.
pub(super) fn weigh(instances: &[Seen<'_>], region: Region, rules: &Rules) -> Weighed {
    let mut said: BTreeSet<(Says, String)> = BTreeSet::new();
    for seen in instances {
        said.insert(says(seen, region, rules));
    }
    let has = |what: Says| said.iter().any(|(says, _)| *says == what);
    // The order of `Says` is the order of the table in the module's head.
    let first = said.first().map_or(Says::Unreadable, |(says, _)| *says);
    let (kind, what) = match first {
        Says::Neighbour => (Kind::Neighbour, "names the part next door"),
        Says::Unreadable => (Kind::Abstained, "cannot be read and may be right"),
        Says::Other => (Kind::Corrected, "names another part"),
        Says::General => (Kind::Corrected, "is too general"),
        Says::Empty => (Kind::Filled, "is empty"),
        Says::Synonym => (Kind::Synonym, "is a synonym"),
        Says::Right => (Kind::Confirmed, "is right"),
    };
    let examples: Vec<&str> =
        said.iter().filter(|(says, _)| *says == first).map(|(_, tag)| tag.as_str()).take(3).collect();
    let tag = examples.join(", ");
    Weighed {
        kind,
        nothing_there_changes: !has(Says::Synonym) && !has(Says::Other) && !has(Says::General),
        reason: if tag.is_empty() { format!("the tag {what}") } else { format!("the tag {what}: {tag}") },
    }
}

/// What an instance says, and the words in which it does, for the audit.
fn says(seen: &Seen<'_>, region: Region, rules: &Rules) -> (Says, String) {
    let tag = anatomy::normalise(seen.tag);
    let by_tag = match &tag {
        Tag::Term { term, exact: true } if *term == region.term() => return (Says::Right, shown(seen.tag)),
        Tag::Term { term, .. } if *term == region.term() => Says::Synonym,
        Tag::Term { .. } | Tag::General(_) | Tag::Unknown(_) if same_as(seen.tag, region, rules) => Says::Synonym,
        Tag::Term { term, .. } => beside(term, region, rules),
        Tag::Empty => Says::Empty,
        Tag::General(term) => beside(term, region, rules),
        Tag::Unknown(_) => Says::Unreadable,
    };
    let Some(code) = seen.anatomic_region else { return (by_tag, shown(seen.tag)) };
    let by_code = match anatomy::term_of_code(&code.scheme, &code.value) {
        Some(term) if term == region.term() || same_as(term, region, rules) => Says::Right,
        Some(term) => beside(term, region, rules),
        None => Says::Unreadable,
    };
    let with_code = || {
        let name = match anatomy::term_of_code(&code.scheme, &code.value) {
            Some(term) => term.to_string(),
            None if code.value.is_empty() => "without a short code".to_string(),
            None => shown(&code.value),
        };
        (by_code, format!("{}, Anatomic Region Sequence {name}", or_empty(&shown(seen.tag))))
    };
    match (by_tag, by_code) {
        // Writing would put another code in place of one that is not plainly wrong.
        (_, Says::Neighbour) => with_code(),
        // The tag says nothing: the code speaks for it.
        (Says::Empty, Says::Other | Says::General | Says::Unreadable) => with_code(),
        (Says::General, Says::Unreadable) => with_code(),
        _ => (by_tag, shown(seen.tag)),
    }
}

fn beside(term: &str, region: Region, rules: &Rules) -> Says {
    match term {
        _ if rules.is_neighbour(region, term) => Says::Neighbour,
        _ if anatomy::is_general(term) => Says::General,
        _ => Says::Other,
    }
}

/// Does the site take the tag as one with the region?
fn same_as(raw: &str, region: Region, rules: &Rules) -> bool {
    rules.same_as.get(&region).is_some_and(|words| anatomy::is_declared(raw, words))
}

/// A tag as the audit shows it: bounded, no control characters.
fn shown(tag: &str) -> String {
    tag.trim().chars().take(32).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn or_empty(tag: &str) -> &str {
    if tag.is_empty() { "empty" } else { tag }
}
