//! What no table can see by itself: values in their ranges, names that must exist, loops, routes that never match.

mod destinations;
mod routes;

use super::problems::{Places, Problem};
use super::tables::{Config, DeviceChoice, PrecisionChoice};
use crate::anatomy::{self, Region, Tag};
use crate::verdict::Mode;
use std::collections::HashSet;
use std::time::Duration;

/// The longest duration: beyond it, adding to a clock may overflow, and nobody means it.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);
/// PS3.8 sets no least maximum length; below this no peer works well. The most bounds what an association may hold.
const PDU: std::ops::RangeInclusive<u32> = 4096..=(16 << 20);

/// More thumbnails than anybody trains on; some 50 KB each.
const MANY_THUMBNAILS: usize = 100_000;

pub(super) fn check(config: &Config, places: &Places, destinations: &HashSet<String>, problems: &mut Vec<Problem>) {
    let mut check = Check { config, places, destinations, problems };
    check.node();
    check.listen();
    check.peers();
    check.limits();
    check.classify();
    check.destinations();
    check.routes();
    check.harvest();
    check.log();
}

/// The configuration under the eye, and what is found.
struct Check<'a> {
    config: &'a Config,
    places: &'a Places,
    /// Names of all destinations in the file, also of those that could not be read.
    destinations: &'a HashSet<String>,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn error(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem::error(self.places.line(path), message));
    }

    fn warning(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem::warning(self.places.line(path), message));
    }

    /// VR AE (PS3.5 6.2): 1 to 16 characters of the default repertoire, no backslash, no control characters.
    fn ae_title(&mut self, path: &str, title: &str) {
        let wrong = if title.is_empty() || title.len() > 16 {
            "must have 1 to 16 characters"
        } else if title.trim() != title {
            "has spaces around it: they do not count in DICOM, leave them out"
        } else if !title.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'\\') {
            "may hold printable ASCII characters only, and no backslash"
        } else {
            return;
        };
        self.error(path, format!("AE title \"{}\" {wrong}", title.escape_debug()));
    }

    fn duration(&mut self, path: &str, value: Duration, may_be_zero: bool) {
        if value.is_zero() && !may_be_zero {
            self.error(path, format!("{path} must be longer than nothing"));
        } else if value > LONGEST {
            self.error(path, format!("{path} is longer than ten years"));
        }
    }

    fn at_least_one(&mut self, path: &str, value: usize) {
        if value == 0 {
            self.error(path, format!("{path} must be at least 1"));
        }
    }

    fn node(&mut self) {
        let node = &self.config.node;
        self.ae_title("node.ae_title", &node.ae_title);
        for (index, title) in node.also_called.iter().enumerate() {
            if title != "*" {
                self.ae_title(&format!("node.also_called[{index}]"), title);
            }
        }
        if node.state_dir.as_os_str().is_empty() {
            self.error("node.state_dir", "node.state_dir is empty: name the folder for spool and ledger");
        }
    }

    fn listen(&mut self) {
        let listen = &self.config.listen;
        self.at_least_one("listen.max_associations", listen.max_associations);
        self.at_least_one("listen.max_associations_per_peer", listen.max_associations_per_peer);
        let path = "listen.max_associations_per_peer";
        if self.places.given(path) && listen.max_associations_per_peer > listen.max_associations {
            self.warning(path, "one peer may have more associations than all together (listen.max_associations)");
        }
    }

    fn peers(&mut self) {
        for (index, peer) in self.config.peer.iter().enumerate() {
            let path = format!("peer[{index}]");
            if let Some(title) = &peer.ae_title {
                self.ae_title(&format!("{path}.ae_title"), title);
            }
            if let Some(network) = peer.network
                && network.trunc() != network
            {
                let message =
                    format!("{network} has bits behind its prefix; the whole of {} is meant", network.trunc());
                self.warning(&format!("{path}.network"), message);
            }
            if peer.ae_title.is_none() && peer.network.is_none() {
                self.error(
                    &path,
                    "a [[peer]] needs an ae_title, a network, or both; without any [[peer]] anyone may send",
                );
            }
        }
    }

    fn limits(&mut self) {
        let limits = &self.config.limits;
        self.duration("limits.artim", limits.artim, false);
        self.duration("limits.idle", limits.idle, false);
        self.duration("limits.pdu", limits.pdu, false);
        self.duration("limits.drain", limits.drain, true);
        if !PDU.contains(&limits.max_pdu) {
            self.error("limits.max_pdu", format!("limits.max_pdu must lie between {} and {}", PDU.start(), PDU.end()));
        }
        match limits.max_instance.as_u64() {
            0 => self.error("limits.max_instance", "limits.max_instance of 0 would refuse everything"),
            size if size < 64 << 20 => {
                self.warning(
                    "limits.max_instance",
                    "limits.max_instance is below 64 MiB: large radiographs will be refused",
                );
            }
            _ => {}
        }
        // The ledger writes into what is left: its log between checkpoints alone takes up to 16 MiB.
        if limits.min_free_disk.as_u64() < 64 << 20 {
            self.warning(
                "limits.min_free_disk",
                "limits.min_free_disk is below 64 MiB: the ledger may find no room to write, and then nothing is received or removed",
            );
        }
        self.duration("retention.delivered", self.config.retention.delivered, true);
    }

    fn classify(&mut self) {
        let classify = &self.config.classify;
        if classify.model.as_os_str().is_empty() {
            self.error("classify.model", "classify.model is empty: name the file with the weights");
        }
        if classify.device == DeviceChoice::Cuda && !cfg!(feature = "cuda") {
            let message = "device = \"cuda\", but this radroute was built without CUDA; build with --features cuda, or set device = \"cpu\"";
            self.error("classify.device", message);
        }
        if classify.device == DeviceChoice::Cuda && classify.precision == PrecisionChoice::Int8 {
            let message = "precision = \"int8\" is for the CPU; with device = \"cuda\" set precision = \"auto\"";
            self.error("classify.precision", message);
        }
        self.duration("classify.settle", classify.settle, false);
        self.duration("classify.settle_max", classify.settle_max, false);
        if classify.settle > classify.settle_max {
            let path = if self.places.given("classify.settle_max") { "classify.settle_max" } else { "classify.settle" };
            self.error(path, "classify.settle is longer than classify.settle_max");
        }
        if classify.regions.is_empty() && classify.mode != Mode::Observe {
            self.warning(
                "classify.regions",
                "no region is enabled: nothing will be corrected (mode = \"observe\" says so)",
            );
        }
        for (index, modality) in classify.secondary_capture.iter().enumerate() {
            self.modality(&format!("classify.secondary_capture[{index}]"), modality);
        }
        for (region, words) in &classify.same_as {
            for (index, word) in words.iter().enumerate() {
                self.same_as(&format!("classify.same_as.{}[{index}]", region.term()), *region, word);
            }
        }
        self.neighbours();
        for (index, exempt) in classify.exempt.iter().enumerate() {
            let path = format!("classify.exempt[{index}]");
            if !exempt.region.is_empty() || !exempt.verdict.is_empty() {
                self.error(&path, "classify.exempt is asked before there is a region or a verdict: leave them out");
            }
            if *exempt == super::Match::default() {
                self.warning(&path, "an exemption without any key exempts every image");
            }
            self.matches(&path, exempt);
        }
    }

    fn same_as(&mut self, path: &str, region: Region, word: &str) {
        let term = match anatomy::normalise(word) {
            Tag::Empty => return self.error(path, "an empty tag is filled, it cannot be the same as a region"),
            Tag::Term { term, .. } => term,
            _ => return,
        };
        if term == region.term() {
            self.warning(path, format!("\"{word}\" is known as {} already", region.term()));
        } else if let Some(other) = Region::from_term(term) {
            self.error(path, format!("\"{word}\" names {}: it cannot be the same as {}", other.term(), region.term()));
        }
    }

    fn neighbours(&mut self) {
        for (region, words) in &self.config.classify.neighbours {
            let key = format!("classify.neighbours.{}", region.term());
            let mut named = HashSet::new();
            for (index, word) in words.iter().enumerate() {
                let path = format!("{key}[{index}]");
                match anatomy::normalise(word) {
                    Tag::Empty => self.error(&path, "an empty tag is filled, it is no neighbour of a region"),
                    Tag::Term { term, .. } if term == region.term() => {
                        self.error(&path, format!("\"{word}\" names {term} itself: it cannot be next door to it"));
                    }
                    Tag::General(anatomy::PLACEHOLDER) => {
                        self.error(&path, format!("\"{word}\" names no part of the body: it cannot be a neighbour"));
                    }
                    Tag::Term { term, .. } | Tag::General(term) => {
                        named.insert(term);
                        let same = self.config.classify.same_as.get(region);
                        if same.is_some_and(|same| anatomy::is_declared(word, same)) {
                            let message =
                                format!("\"{word}\" is one with {} by classify.same_as, which counts", region.term());
                            self.warning(&path, message);
                        }
                    }
                    Tag::Unknown(_) => {
                        let message = format!("\"{word}\" is no part that is known; such a tag is left alone anyway");
                        self.warning(&path, message);
                    }
                }
            }
            let gone: Vec<&str> = region.neighbours().iter().filter(|term| !named.contains(*term)).copied().collect();
            if !gone.is_empty() {
                let message = format!(
                    "{key} takes the place of the default, so that these tags will be corrected to {} where the network sees it: {}",
                    region.term(),
                    gone.join(", ")
                );
                self.warning(&key, message);
            }
        }
    }

    fn harvest(&mut self) {
        let most = self.config.harvest.max_images;
        self.at_least_one("harvest.max_images", most);
        if most > MANY_THUMBNAILS {
            let message = format!("harvest.max_images: {most} thumbnails take some {} GB", most.div_ceil(20_000));
            self.warning("harvest.max_images", message);
        }
    }

    /// VR CS (PS3.5 6.2).
    fn modality(&mut self, path: &str, value: &str) {
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_' || b == b' ';
        if value.is_empty() || value.len() > 16 || !value.bytes().all(plain) {
            self.error(
                path,
                format!("\"{}\" is no modality: upper case letters, such as \"DX\"", value.escape_debug()),
            );
        }
    }

    fn log(&mut self) {
        let level = &self.config.log.level;
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(level) {
            self.error(
                "log.level",
                format!("\"{level}\" is no log filter such as \"info\" or \"radroute=debug\": {error}"),
            );
        }
    }
}
