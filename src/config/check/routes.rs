//! Routes: names that must exist, patterns, and routes that can never match.

use super::Check;
use crate::config::Match;
use crate::route::{Matcher, unreachable};
use std::collections::{HashMap, HashSet};

impl Check<'_> {
    pub(super) fn routes(&mut self) {
        let config = self.config;
        let mut names: HashMap<&str, usize> = HashMap::new();
        for (index, route) in config.route.iter().enumerate() {
            let path = format!("route[{index}]");
            self.name(&format!("{path}.name"), &route.name);
            if let Some(first) = names.insert(&route.name, index) {
                let line = self.places.line(&format!("route[{first}].name"));
                self.error(
                    &format!("{path}.name"),
                    format!("a route \"{}\" stands in line {line} already", route.name),
                );
            }
            if route.to.is_empty() {
                self.error(&format!("{path}.to"), "a route must go somewhere: nothing is dropped silently");
            }
            self.known(&format!("{path}.to"), &route.to);
            let matches = route.matches();
            self.matches(&path, &matches);
            self.never_called(&path, &matches);
        }
        for found in unreachable(&config.rules()) {
            let name = &config.route[found.rule].name;
            self.warning(&format!("route[{}]", found.rule), format!("route \"{name}\": {}", found.reason));
        }
        self.known("routing.default", &config.routing.default);
        self.unmatched();
        self.unused();
    }

    /// Destinations that must exist, each once.
    fn known(&mut self, path: &str, names: &[String]) {
        let mut seen = HashSet::new();
        for (index, name) in names.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if !self.destinations.contains(name) {
                self.error(&path, format!("there is no [[destination]] named \"{name}\""));
            } else if !seen.insert(name) {
                self.warning(&path, format!("\"{name}\" is named twice"));
            }
        }
    }

    /// The values of what a route or an exemption matches on.
    pub(super) fn matches(&mut self, path: &str, matches: &Match) {
        for (index, modality) in matches.modality.iter().enumerate() {
            self.modality(&format!("{path}.modality[{index}]"), modality);
        }
        for (index, uid) in matches.sop_class.iter().enumerate() {
            let digits = uid.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            if uid.is_empty() || uid.len() > 64 || !digits {
                let message = format!("\"{}\" is no SOP Class UID; it is compared as it is", uid.escape_debug());
                self.error(&format!("{path}.sop_class[{index}]"), message);
            }
        }
        if let Err(error) = Matcher::new(matches) {
            let key = self.place_of_pattern(path, matches, &error.pattern);
            self.error(&key, error.to_string());
        }
    }

    fn place_of_pattern(&self, path: &str, matches: &Match, pattern: &str) -> String {
        let lists = [
            ("calling_ae", &matches.calling_ae),
            ("called_ae", &matches.called_ae),
            ("station_name", &matches.station_name),
            ("institution_name", &matches.institution_name),
            ("study_description", &matches.study_description),
            ("body_part_examined", &matches.body_part_examined),
        ];
        let found = lists.iter().find_map(|(key, list)| {
            list.iter()
                .position(|p| p.trim().eq_ignore_ascii_case(pattern))
                .map(|index| format!("{path}.{key}[{index}]"))
        });
        found.unwrap_or_else(|| path.to_string())
    }

    /// A route for AE titles that no association can have here.
    fn never_called(&mut self, path: &str, matches: &Match) {
        let config = self.config;
        let plain = |title: &String| !title.contains(['*', '?', '[', '{']);
        let any_called = config.node.also_called.iter().any(|title| title == "*");
        let accepted = |title: &String| *title == config.node.ae_title || config.node.also_called.contains(title);
        for (index, title) in matches.called_ae.iter().enumerate() {
            if !any_called && plain(title) && !accepted(title) {
                let message = format!(
                    "nobody can call this router \"{title}\": it is neither node.ae_title nor among node.also_called"
                );
                self.warning(&format!("{path}.called_ae[{index}]"), message);
            }
        }
        let known: Option<Vec<&String>> = config.peer.iter().map(|peer| peer.ae_title.as_ref()).collect();
        let Some(known) = known.filter(|titles| !titles.is_empty()) else { return };
        for (index, title) in matches.calling_ae.iter().enumerate() {
            if plain(title) && !known.contains(&title) {
                let message = format!("\"{title}\" is not among the [[peer]] tables: it cannot send");
                self.warning(&format!("{path}.calling_ae[{index}]"), message);
            }
        }
    }

    /// Without a default, what matches no route waits in the spool.
    fn unmatched(&mut self) {
        let config = self.config;
        let takes_all = config.route.iter().any(|route| route.matches() == Match::default());
        if config.routing.default.is_empty() && !takes_all && !self.destinations.is_empty() {
            let message = "no routing.default, and no route without conditions: what matches no route stays in the spool undelivered";
            self.warning("routing.default", message);
        }
    }

    fn unused(&mut self) {
        let config = self.config;
        let mut used: HashSet<&String> = config.routing.default.iter().collect();
        used.extend(config.route.iter().flat_map(|route| &route.to));
        for (index, destination) in config.destination.iter().enumerate() {
            if !used.contains(&destination.name) {
                let message =
                    format!("nothing goes to \"{}\": it is in no route and not in routing.default", destination.name);
                self.warning(&format!("destination[{index}].name"), message);
            }
        }
    }
}
