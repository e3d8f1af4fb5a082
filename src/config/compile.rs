//! What the stages ask of a configuration: routes, exemptions and the rules of verdicts, ready to be used.

use super::tables::Config;
use crate::anatomy::{Tag, normalise};
use crate::route::{Matcher, PatternError, Router, Rule};
use crate::verdict::{self, Threshold};
use std::collections::BTreeMap;

impl Config {
    /// `[[route]]` as the pure ground knows it.
    pub fn rules(&self) -> Vec<Rule> {
        let rule = |route: &super::Route| Rule {
            name: route.name.clone(),
            matches: route.matches(),
            to: route.to.clone(),
            last: route.r#final,
        };
        self.route.iter().map(rule).collect()
    }

    /// `[[route]]` and `[routing]`. A configuration that was checked does not fail here.
    pub fn router(&self) -> Result<Router, PatternError> {
        Router::new(&self.rules(), self.routing.by, &self.routing.default)
    }

    /// `classify.exempt`: an object that any of them matches is never looked at. A configuration that was checked does not
    /// fail here.
    pub fn exemptions(&self) -> Result<Vec<Matcher>, PatternError> {
        self.classify.exempt.iter().map(Matcher::new).collect()
    }

    /// What verdicts go by: `[classify]`, and the thresholds of the model's card.
    pub fn verdict_rules(&self, thresholds: &BTreeMap<String, Threshold>) -> verdict::Rules {
        verdict::Rules {
            thresholds: thresholds.clone(),
            mode: self.classify.mode,
            regions: self.classify.regions.iter().copied().collect(),
            normalise_synonyms: self.classify.normalise_synonyms,
            same_as: self.classify.same_as.clone(),
            neighbours: self.classify.neighbours.iter().map(|(region, words)| (*region, terms(words))).collect(),
        }
    }
}

/// The defined terms that words stand for; those that stand for none are left out, and `check` has told of them.
fn terms(words: &[String]) -> Vec<&'static str> {
    let term = |word: &String| match normalise(word) {
        Tag::Term { term, .. } | Tag::General(term) => Some(term),
        Tag::Empty | Tag::Unknown(_) => None,
    };
    words.iter().filter_map(term).collect()
}
