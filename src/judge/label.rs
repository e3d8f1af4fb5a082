//! What a label says: of a head, and of what a false correction would be. Pure.

use crate::anatomy::Region;

/// The label of things that are no radiographs.
pub const NO_RADIOGRAPH: &str = "NOT_A_RADIOGRAPH";

/// Regions that show a part of one of the five, and which: to call them so is a smaller mistake, counted apart.
pub const NEXT_TO: [(&str, Region); 4] =
    [("WRIST", Region::Hand), ("FINGER", Region::Hand), ("CLAVICLE", Region::Shoulder), ("HIP", Region::Pelvis)];

/// What an image is to the five regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    /// One of them.
    Region(Region),
    /// A radiograph of none of them.
    Outside,
    /// A radiograph of the part next to this one.
    NextTo(Region),
    /// No radiograph.
    NoRadiograph,
}

/// What an image labelled `region` is.
pub fn truth(region: &str) -> Truth {
    if region == NO_RADIOGRAPH {
        return Truth::NoRadiograph;
    }
    match (Region::from_term(region), NEXT_TO.iter().find(|(name, _)| *name == region)) {
        (Some(region), _) => Truth::Region(region),
        (None, Some((_, next))) => Truth::NextTo(*next),
        (None, None) => Truth::Outside,
    }
}

/// Whether an image labelled `region` is positive for `head`; `None` where the label does not tell.
pub fn label(region: &str, head: &str) -> Option<bool> {
    match (region, head) {
        // A spine is the one or the other.
        ("SPINE", "CSPINE" | "TSPINE" | "LSPINE") | ("SACRUM", "LSPINE") => None,
        _ => Some(region == head),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_spines_tell_only_what_they_know() {
        assert_eq!(label("SPINE", "LSPINE"), None);
        assert_eq!(label("SPINE", "PELVIS"), Some(false));
        assert_eq!(label("HAND", "HAND"), Some(true));
        assert_eq!(label(NO_RADIOGRAPH, "HAND"), Some(false));
    }

    #[test]
    fn every_label_is_one_of_four_things() {
        assert_eq!(truth("HAND"), Truth::Region(Region::Hand));
        assert_eq!(truth("WRIST"), Truth::NextTo(Region::Hand));
        assert_eq!(truth("HIP"), Truth::NextTo(Region::Pelvis));
        assert_eq!(truth("FOREARM"), Truth::Outside);
        assert_eq!(truth(NO_RADIOGRAPH), Truth::NoRadiograph);
    }
}
