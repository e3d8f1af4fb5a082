//! Rules that can never apply, for `radroute check`.

use super::Rule;
use super::matching::Field;

/// A rule, or a part of it, that can never apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Which rule, counted from 0.
    pub rule: usize,
    /// Why, for the administrator.
    pub reason: String,
}

/// Finds what can never apply. Careful: what is reported is certain, but not all that is unreachable is found.
pub fn unreachable(rules: &[Rule]) -> Vec<Unreachable> {
    let mut found = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        if let Some(before) = rules[..index].iter().find(|before| before.last && covers(before, rule)) {
            let reason = format!(
                "never reached: \"{}\" before it is final and matches everything that this one can match",
                before.name
            );
            found.push(Unreachable { rule: index, reason });
        }
        if !rule.matches.region.is_empty() {
            let (with, without): (Vec<_>, Vec<_>) =
                rule.matches.verdict.iter().copied().partition(|kind| kind.can_have_region());
            let kinds: Vec<_> = without.iter().map(|kind| kind.name()).collect();
            let kinds = kinds.join(", ");
            if !without.is_empty() && with.is_empty() {
                found.push(Unreachable {
                    rule: index,
                    reason: format!("never matches: a verdict {kinds} names no region"),
                });
            } else if !without.is_empty() {
                found.push(Unreachable {
                    rule: index,
                    reason: format!(
                        "verdict {kinds} never matches here: it names no region, and the route asks for one"
                    ),
                });
            }
        }
    }
    found
}

/// Does `before` match whatever `rule` matches? `false` where it is not certain.
fn covers(before: &Rule, rule: &Rule) -> bool {
    let (a, b) = (&before.matches, &rule.matches);
    list_covers(&a.region, &b.region)
        && list_covers(&a.verdict, &b.verdict)
        && list_covers(&a.modality, &b.modality)
        && list_covers(&a.sop_class, &b.sop_class)
        && Field::ALL.into_iter().all(|field| patterns_cover(field, field.patterns(a), field.patterns(b)))
}

fn list_covers<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.is_empty() || (!b.is_empty() && b.iter().all(|value| a.contains(value)))
}

fn patterns_cover(field: Field, a: &[String], b: &[String]) -> bool {
    if a.is_empty() || a.iter().any(|p| p == "*") {
        return true;
    }
    let Ok(set) = field.compile(a.iter().map(String::as_str)) else { return false };
    let covered = |pattern: &String| {
        a.contains(pattern)
            || (!pattern.contains(['*', '?', '[', ']', '{', '}', '!']) && set.is_match(field.folded(pattern).as_ref()))
    };
    !b.is_empty() && b.iter().all(covered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anatomy::Region;
    use crate::route::Match;
    use crate::verdict::Kind;

    fn rule(last: bool, edit: impl FnOnce(&mut Match)) -> Rule {
        let mut matches = Match::default();
        edit(&mut matches);
        Rule { name: "r".into(), matches, to: vec!["a".into()], last }
    }

    fn found(rules: &[Rule]) -> Vec<usize> {
        unreachable(rules).into_iter().map(|u| u.rule).collect()
    }

    #[test]
    fn behind_a_final_rule_that_covers_it() {
        let all = |last| rule(last, |_| {});
        let knee = |last| rule(last, |m| m.region = vec![Region::Knee]);
        let limbs = |last| rule(last, |m| m.region = vec![Region::Knee, Region::Hand]);
        assert_eq!(found(&[all(true), knee(false)]), [1]);
        assert_eq!(found(&[all(false), knee(false)]), [0usize; 0]);
        assert_eq!(found(&[limbs(true), knee(false), knee(true), limbs(false)]), [1, 2, 3]);
        assert_eq!(found(&[knee(true), limbs(false), all(false)]), [0usize; 0]);
    }

    #[test]
    fn patterns_cover_what_they_match() {
        let station = |last, p: &str| rule(last, |m| m.station_name = vec![p.into()]);
        assert_eq!(found(&[station(true, "room*"), station(false, "ROOM 3")]), [1]);
        assert_eq!(found(&[station(true, "room*"), station(false, "room*")]), [1]);
        assert_eq!(found(&[station(true, "*"), rule(false, |_| {})]), [1]);
        // Not certain, so not reported.
        assert_eq!(found(&[station(true, "room*"), station(false, "room 3*")]), [0usize; 0]);
        assert_eq!(found(&[station(true, "room*"), rule(false, |_| {})]), [0usize; 0]);
        let ae = |last, p: &str| rule(last, |m| m.calling_ae = vec![p.into()]);
        assert_eq!(found(&[ae(true, "XRAY*"), ae(false, "xray1")]), [0usize; 0]);
    }

    #[test]
    fn verdicts_that_name_no_region() {
        let with = |kinds: &[Kind]| {
            rule(false, |m| {
                m.region = vec![Region::Knee];
                m.verdict = kinds.to_vec();
            })
        };
        assert_eq!(
            found(&[with(&[Kind::Outside]), with(&[Kind::Corrected]), with(&[Kind::Filled, Kind::Conflict])]),
            [0, 2]
        );
        assert_eq!(found(&[rule(false, |m| m.verdict = vec![Kind::Outside])]), [0usize; 0]);
    }
}
