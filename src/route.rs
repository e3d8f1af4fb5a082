//! Facts of an instance + rules → destinations. Pure.
//!
//! Every rule that matches adds its destinations, in the order of the configuration; a matching rule with `last` ends the
//! search. What belongs together travels together ([`By`]): the destinations of an instance are the union of what its
//! study, or its series, chose; the default destinations stand in only while none of them chose.
//!
//! The stage that decides calls [`Router::choose`] for every instance, and [`Router::plan`] once for the series.

mod matching;
mod reach;

pub use matching::{Case, Match, Matcher};
pub use reach::{Unreachable, unreachable};

use serde::{Deserialize, Serialize};

/// What travels together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Every series goes where any series of its study goes.
    Study,
    /// Every instance goes where any instance of its series goes.
    Series,
    /// Each for itself.
    Instance,
}

/// A rule as configured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// For the audit.
    pub name: String,
    /// When it applies.
    pub matches: Match,
    /// Names of the destinations it adds.
    pub to: Vec<String>,
    /// No rule behind it is asked once it matches.
    pub last: bool,
}

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{pattern}\" is not a pattern: {reason} (`*` any characters, `?` one, `[ab]` one of these, `{{x,y}}` either)"
)]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What an instance chose by the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Names of destinations, without duplicates.
    pub destinations: Vec<String>,
    /// Names of the rules that matched.
    pub routes: Vec<String>,
}

/// An instance of the study that was decided before and is still in the spool.
#[derive(Clone, Copy, Debug)]
pub struct Earlier<'a> {
    /// It belongs to the series that is being decided.
    pub same_series: bool,
    /// The destinations that it has.
    pub destinations: &'a [String],
}

/// What a series brings to its plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Series<'a> {
    /// What each undecided instance chose.
    pub undecided: &'a [Choice],
    /// What this series chose before.
    pub series_chosen: &'a [String],
    /// What all series of the study chose before.
    pub study_chosen: &'a [String],
    /// The instances of the study that were decided before.
    pub earlier: &'a [Earlier<'a>],
}

/// Where a series goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What this series chose by rules, now and before; default destinations are not counted.
    pub chosen: Vec<String>,
    /// For each undecided instance: its destinations, and the rules that matched. Where none did, `default`, or `(study)`
    /// or `(series)` for an instance that goes along with the others.
    pub instances: Vec<Choice>,
    /// For each earlier instance: destinations that come to it.
    pub added: Vec<Vec<String>>,
}

/// The rules, ready to be asked.
#[derive(Debug)]
pub struct Router {
    rules: Vec<(Matcher, Rule)>,
    by: By,
    default: Vec<String>,
}

impl Router {
    /// Compiles the rules. Fails with the first pattern that is none.
    pub fn new(rules: &[Rule], by: By, default: &[String]) -> Result<Router, PatternError> {
        let compiled = rules.iter().map(|rule| Ok((Matcher::new(&rule.matches)?, rule.clone())));
        Ok(Router { rules: compiled.collect::<Result<_, _>>()?, by, default: default.to_vec() })
    }

    /// What an instance chooses by itself. Empty: no rule matches.
    pub fn choose(&self, case: &Case<'_>) -> Choice {
        let mut choice = Choice::default();
        for (matcher, rule) in &self.rules {
            if matcher.matches(case) {
                choice.routes.push(rule.name.clone());
                add(&mut choice.destinations, &rule.to);
                if rule.last {
                    break;
                }
            }
        }
        choice
    }

    /// Where the instances of a series go, and what comes to the earlier ones of its study.
    pub fn plan(&self, series: Series<'_>) -> Plan {
        let mut chosen = series.series_chosen.to_vec();
        for choice in series.undecided {
            add(&mut chosen, &choice.destinations);
        }
        let mut together = match self.by {
            By::Study => series.study_chosen.to_vec(),
            By::Series | By::Instance => Vec::new(),
        };
        add(&mut together, &chosen);
        let instances = series.undecided.iter().map(|own| self.place(own, &together)).collect();
        let added = series.earlier.iter().map(|earlier| self.bring_along(earlier, &together)).collect();
        Plan { chosen, instances, added }
    }

    fn place(&self, own: &Choice, together: &[String]) -> Choice {
        let (destinations, along) = match self.by {
            By::Study => (together, "(study)"),
            By::Series => (together, "(series)"),
            By::Instance => (&own.destinations[..], ""),
        };
        let (destinations, instead) = match destinations {
            [] => (&self.default[..], "default"),
            chosen => (chosen, along),
        };
        let routes = if own.routes.is_empty() { vec![instead.to_string()] } else { own.routes.clone() };
        Choice { destinations: destinations.to_vec(), routes }
    }

    fn bring_along(&self, earlier: &Earlier<'_>, together: &[String]) -> Vec<String> {
        let along = match self.by {
            By::Study => true,
            By::Series => earlier.same_series,
            By::Instance => false,
        };
        let comes = |name: &&String| along && !earlier.destinations.contains(name);
        together.iter().filter(comes).cloned().collect()
    }
}

fn add(list: &mut Vec<String>, more: &[String]) {
    for name in more {
        if !list.contains(name) {
            list.push(name.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anatomy::Region;
    use crate::dataset::Facts;
    use crate::verdict::{Kind, Verdict};

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    fn rule(name: &str, region: Region, to: &[&str], last: bool) -> Rule {
        Rule { name: name.into(), matches: Match { region: vec![region], ..Match::default() }, to: names(to), last }
    }

    fn choice(destinations: &[&str], routes: &[&str]) -> Choice {
        Choice { destinations: names(destinations), routes: names(routes) }
    }

    fn router(by: By) -> Router {
        Router::new(&[], by, &names(&["archive"])).unwrap()
    }

    #[test]
    fn every_matching_rule_adds_and_the_last_ends_the_search() {
        let rules = [
            rule("one", Region::Knee, &["a", "b"], false),
            rule("other region", Region::Hand, &["x"], true),
            rule("two", Region::Knee, &["b", "c"], true),
            rule("never", Region::Knee, &["d"], false),
        ];
        let router = Router::new(&rules, By::Instance, &[]).unwrap();
        let facts = Facts::default();
        let verdict = Verdict { kind: Kind::Filled, region: Some(Region::Knee), write: None, reason: String::new() };
        let case = Case { facts: &facts, calling_ae: "", called_ae: "", verdict: Some(&verdict) };
        assert_eq!(router.choose(&case), choice(&["a", "b", "c"], &["one", "two"]));
        assert_eq!(router.choose(&Case { verdict: None, ..case }), Choice::default());
    }

    #[test]
    fn a_pattern_that_is_none_is_an_error() {
        let matches = Match { station_name: names(&["ROOM[1"]), ..Match::default() };
        let bad = Rule { matches, ..Rule::default() };
        assert_eq!(Router::new(&[bad], By::Study, &[]).unwrap_err().pattern, "ROOM[1");
    }

    #[test]
    fn by_instance_each_goes_for_itself() {
        let plan = router(By::Instance).plan(Series {
            undecided: &[choice(&["a"], &["one"]), Choice::default()],
            series_chosen: &names(&["b"]),
            study_chosen: &names(&["b", "c"]),
            earlier: &[Earlier { same_series: true, destinations: &names(&["b"]) }],
        });
        assert_eq!(plan.instances, [choice(&["a"], &["one"]), choice(&["archive"], &["default"])]);
        assert_eq!(plan.added, [names(&[])]);
        assert_eq!(plan.chosen, names(&["b", "a"]));
    }

    #[test]
    fn by_series_the_series_goes_together_and_its_earlier_instances_come_along() {
        let plan = router(By::Series).plan(Series {
            undecided: &[choice(&["a"], &["one"]), Choice::default()],
            series_chosen: &names(&["b"]),
            study_chosen: &names(&["b", "c"]),
            earlier: &[
                Earlier { same_series: true, destinations: &names(&["b"]) },
                Earlier { same_series: false, destinations: &names(&["c"]) },
            ],
        });
        assert_eq!(plan.instances, [choice(&["b", "a"], &["one"]), choice(&["b", "a"], &["(series)"])]);
        assert_eq!(plan.added, [names(&["a"]), names(&[])]);
    }

    #[test]
    fn by_study_a_late_series_joins_and_brings_the_earlier_ones_along() {
        let plan = router(By::Study).plan(Series {
            undecided: &[choice(&["a"], &["one"]), Choice::default()],
            study_chosen: &names(&["c"]),
            earlier: &[
                Earlier { same_series: false, destinations: &names(&["c"]) },
                Earlier { same_series: false, destinations: &names(&["a", "c"]) },
                // It went to the default while no series had chosen.
                Earlier { same_series: false, destinations: &names(&["archive"]) },
            ],
            ..Series::default()
        });
        assert_eq!(plan.instances, [choice(&["c", "a"], &["one"]), choice(&["c", "a"], &["(study)"])]);
        assert_eq!(plan.added, [names(&["a"]), names(&[]), names(&["c", "a"])]);
        assert_eq!(plan.chosen, names(&["a"]));
    }

    #[test]
    fn the_default_counts_only_while_none_chose() {
        let none = [Choice::default()];
        let earlier = [Earlier { same_series: false, destinations: &names(&["archive"]) }];
        for by in [By::Study, By::Series, By::Instance] {
            let plan = router(by).plan(Series { undecided: &none, earlier: &earlier, ..Series::default() });
            assert_eq!(plan.instances, [choice(&["archive"], &["default"])]);
            assert_eq!((plan.added, plan.chosen), (vec![names(&[])], names(&[])));
        }
        let chosen = names(&["c"]);
        let late = Series { undecided: &none, study_chosen: &chosen, ..Series::default() };
        assert_eq!(router(By::Study).plan(late).instances, [choice(&["c"], &["(study)"])]);
        assert_eq!(router(By::Series).plan(late).instances, [choice(&["archive"], &["default"])]);
    }
}
