//! Does a rule apply to an instance?

use super::PatternError;
use crate::anatomy::Region;
use crate::dataset::Facts;
use crate::verdict::{Kind, Verdict};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use std::borrow::Cow;

/// What `[[route]]` and `classify.exempt` match on. Every key that is given must match; a list matches if any of it does.
///
/// Names, descriptions and tags are patterns without regard to case (`*` any characters, `?` one ASCII character, `[ab]`
/// one of these, `{x,y}` either); AE titles are patterns
/// with regard to it (PS3.5: AE titles are case sensitive); modality and SOP class are compared as they are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// What the network is sure of.
    pub region: Vec<Region>,
    /// The kind of verdict.
    pub verdict: Vec<Kind>,
    /// (0008,0060)
    pub modality: Vec<String>,
    /// (0008,0016), UIDs.
    pub sop_class: Vec<String>,
    /// Who sent it.
    pub calling_ae: Vec<String>,
    /// How it called us.
    pub called_ae: Vec<String>,
    /// (0008,1010)
    pub station_name: Vec<String>,
    /// (0008,0080)
    pub institution_name: Vec<String>,
    /// (0008,1030)
    pub study_description: Vec<String>,
    /// (0018,0015) as it came; `""`: absent or empty.
    pub body_part_examined: Vec<String>,
}

/// An instance before the rules.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// From its header.
    pub facts: &'a Facts,
    /// Who sent it.
    pub calling_ae: &'a str,
    /// How it called us.
    pub called_ae: &'a str,
    /// The verdict of its series, once there is one.
    pub verdict: Option<&'a Verdict>,
}

/// A [`Match`], ready to be asked.
#[derive(Debug)]
pub struct Matcher {
    region: Vec<Region>,
    verdict: Vec<Kind>,
    modality: Vec<String>,
    sop_class: Vec<String>,
    patterns: Vec<(Field, GlobSet)>,
}

/// What a pattern is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    CallingAe,
    CalledAe,
    StationName,
    InstitutionName,
    StudyDescription,
    BodyPartExamined,
}

impl Field {
    pub(super) const ALL: [Field; 6] = [
        Field::CallingAe,
        Field::CalledAe,
        Field::StationName,
        Field::InstitutionName,
        Field::StudyDescription,
        Field::BodyPartExamined,
    ];

    pub(super) fn patterns(self, matches: &Match) -> &[String] {
        match self {
            Field::CallingAe => &matches.calling_ae,
            Field::CalledAe => &matches.called_ae,
            Field::StationName => &matches.station_name,
            Field::InstitutionName => &matches.institution_name,
            Field::StudyDescription => &matches.study_description,
            Field::BodyPartExamined => &matches.body_part_examined,
        }
    }

    fn value<'a>(self, case: &Case<'a>) -> &'a str {
        match self {
            Field::CallingAe => case.calling_ae,
            Field::CalledAe => case.called_ae,
            Field::StationName => &case.facts.station_name,
            Field::InstitutionName => &case.facts.institution_name,
            Field::StudyDescription => &case.facts.study_description,
            Field::BodyPartExamined => &case.facts.body_part_examined,
        }
    }

    /// Lower case where case does not count: globset's own switch knows ASCII alone.
    pub(super) fn folded(self, text: &str) -> Cow<'_, str> {
        match self {
            Field::CallingAe | Field::CalledAe => Cow::Borrowed(text),
            _ => Cow::Owned(text.to_lowercase()),
        }
    }

    /// The patterns compiled, as one set.
    pub(super) fn compile<'a>(self, patterns: impl IntoIterator<Item = &'a str>) -> Result<GlobSet, PatternError> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let glob = GlobBuilder::new(&self.folded(pattern))
                // A slash in a description is a character like any other, and so is a backslash in a name.
                .literal_separator(false)
                .backslash_escape(false)
                .build()
                .map_err(|e| PatternError { pattern: pattern.into(), reason: e.kind().to_string() })?;
            set.add(glob);
        }
        set.build()
            .map_err(|e| PatternError { pattern: e.glob().unwrap_or_default().into(), reason: e.kind().to_string() })
    }
}

impl Matcher {
    /// Compiles the patterns. Fails with the first that is none.
    pub fn new(matches: &Match) -> Result<Matcher, PatternError> {
        let mut patterns = Vec::new();
        for field in Field::ALL {
            let given = field.patterns(matches);
            if !given.is_empty() {
                patterns.push((field, field.compile(given.iter().map(|p| p.trim()))?));
            }
        }
        Ok(Matcher {
            region: matches.region.clone(),
            verdict: matches.verdict.clone(),
            modality: matches.modality.clone(),
            sop_class: matches.sop_class.clone(),
            patterns,
        })
    }

    /// Does every given key match?
    pub fn matches(&self, case: &Case<'_>) -> bool {
        let any_or_none = |list: &[String], value: &str| list.is_empty() || list.iter().any(|v| v == value.trim());
        let region = case.verdict.and_then(|v| v.region);
        let kind = case.verdict.map(|v| v.kind);
        (self.region.is_empty() || region.is_some_and(|r| self.region.contains(&r)))
            && (self.verdict.is_empty() || kind.is_some_and(|k| self.verdict.contains(&k)))
            && any_or_none(&self.modality, &case.facts.modality)
            && any_or_none(&self.sop_class, case.facts.sop_class_uid.trim_end_matches('\0'))
            && self.patterns.iter().all(|(field, set)| set.is_match(field.folded(field.value(case).trim()).as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.1.1".into(),
            modality: "DX".into(),
            station_name: "Room 3 / Bucky".into(),
            institution_name: "St. Étienne".into(),
            study_description: "XR KNIE [re] 2 Ebenen".into(),
            ..Facts::default()
        }
    }

    fn matches(edit: impl FnOnce(&mut Match)) -> bool {
        let facts = facts();
        let case = Case { facts: &facts, calling_ae: "XRAY1", called_ae: "RADROUTE", verdict: None };
        let mut matches = Match::default();
        edit(&mut matches);
        Matcher::new(&matches).unwrap().matches(&case)
    }

    fn one(s: &str) -> Vec<String> {
        vec![s.into()]
    }

    #[test]
    fn nothing_given_matches_everything() {
        assert!(matches(|_| {}));
    }

    #[test]
    fn names_are_patterns_without_regard_to_case() {
        for (pattern, expected) in [
            ("room 3 / bucky", true),
            ("ROOM*", true),
            ("room ? / *", true),
            ("*", true),
            ("Room", false),
            ("room [12]*", false),
            ("{room,saal} *", true),
            ("", false),
        ] {
            assert_eq!(matches(|m| m.station_name = one(pattern)), expected, "{pattern}");
        }
        assert!(matches(|m| m.institution_name = one("st. étienne")));
        assert!(matches(|m| m.institution_name = one("ST. *TIENNE")));
        assert!(matches(|m| m.study_description = one("*knie*")));
        assert!(matches(|m| m.study_description = vec!["*hand*".into(), "*[[]re[]]*".into()]));
    }

    #[test]
    fn an_empty_pattern_matches_an_absent_value() {
        assert!(matches(|m| m.body_part_examined = one("")));
        assert!(!matches(|m| m.body_part_examined = one("?*")));
    }

    #[test]
    fn ae_titles_regard_case_and_may_be_patterns() {
        assert!(matches(|m| m.calling_ae = one("XRAY1")));
        assert!(matches(|m| m.calling_ae = one("XRAY*")));
        assert!(!matches(|m| m.calling_ae = one("xray1")));
        assert!(!matches(|m| m.called_ae = one("RAD")));
    }

    #[test]
    fn sop_class_and_modality_are_compared_as_they_are() {
        assert!(matches(|m| m.sop_class = one("1.2.840.10008.5.1.4.1.1.1.1")));
        // A prefix is another class.
        assert!(!matches(|m| m.sop_class = one("1.2.840.10008.5.1.4.1.1.1")));
        assert!(matches(|m| m.modality = vec!["CR".into(), "DX".into()]));
        assert!(!matches(|m| m.modality = one("D*")));
    }

    #[test]
    fn every_given_key_must_match() {
        assert!(matches(|m| {
            m.modality = one("DX");
            m.calling_ae = one("XRAY?");
        }));
        assert!(!matches(|m| {
            m.modality = one("DX");
            m.calling_ae = one("CT");
        }));
    }

    #[test]
    fn region_and_verdict_need_a_verdict() {
        assert!(!matches(|m| m.region = vec![Region::Knee]));
        assert!(!matches(|m| m.verdict = vec![Kind::Outside]));
        let (facts, outside) =
            (facts(), Verdict { kind: Kind::Outside, region: None, write: None, reason: String::new() });
        let case = Case { facts: &facts, calling_ae: "", called_ae: "", verdict: Some(&outside) };
        let of = |m: Match| Matcher::new(&m).unwrap().matches(&case);
        assert!(of(Match { verdict: vec![Kind::Abstained, Kind::Outside], ..Match::default() }));
        assert!(!of(Match { region: Region::ALL.to_vec(), ..Match::default() }));
    }
}
