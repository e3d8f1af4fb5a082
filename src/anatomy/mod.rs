//! Body regions, their DICOM terms, codes, synonyms and neighbours: one table for everything. Pure.
//!
//! | asked | answered by |
//! |---|---|
//! | which code belongs to a region (Anatomic Region Sequence) | [`Region::code`] |
//! | which term a code stands for, today's or an older one | [`term_of_code`] |
//! | what a raw BodyPartExamined says, in whatever spelling | [`normalise`] |
//! | is this the part next door | [`is_neighbour`] |
//!
//! Terms and codes: PS3.16 Annex L (2026a); older codes: its tables before SNOMED CT, and the pairs of PS3.16 Annex O.

mod read;
mod table;

pub use read::{Tag, normalise};
pub use table::PLACEHOLDER;

use serde::{Deserialize, Serialize};

/// A region that the network has a one-vs-rest output for and that may correct a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Region {
    /// SHOULDER, SCT 16982005
    Shoulder,
    /// ELBOW, SCT 16953009
    Elbow,
    /// HAND, SCT 85562004
    Hand,
    /// PELVIS, SCT 816092008
    Pelvis,
    /// KNEE, SCT 72696002
    Knee,
}

/// A SNOMED CT code as it is written into a code sequence (scheme designator `SCT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sct {
    /// Code Value (0008,0100).
    pub value: &'static str,
    /// Code Meaning (0008,0104).
    pub meaning: &'static str,
}

impl Region {
    /// All regions, in the order of the network's outputs.
    pub const ALL: [Region; 5] = [Region::Shoulder, Region::Elbow, Region::Hand, Region::Pelvis, Region::Knee];

    /// The defined term for BodyPartExamined (0018,0015).
    pub fn term(self) -> &'static str {
        match self {
            Region::Shoulder => "SHOULDER",
            Region::Elbow => "ELBOW",
            Region::Hand => "HAND",
            Region::Pelvis => "PELVIS",
            Region::Knee => "KNEE",
        }
    }

    /// The region of a defined term, exactly as written there.
    pub fn from_term(term: &str) -> Option<Region> {
        Region::ALL.into_iter().find(|r| r.term() == term)
    }

    /// The code for Anatomic Region Sequence (0008,2218), PS3.16 Annex L and CID 4.
    pub fn code(self) -> Sct {
        match self {
            Region::Shoulder => Sct { value: "16982005", meaning: "Shoulder" },
            Region::Elbow => Sct { value: "16953009", meaning: "Elbow joint" },
            Region::Hand => Sct { value: "85562004", meaning: "Hand" },
            // Not 12921003, which older tables give: accepted on input, never written.
            Region::Pelvis => Sct { value: "816092008", meaning: "Pelvis" },
            Region::Knee => Sct { value: "72696002", meaning: "Knee" },
        }
    }

    /// The defined terms of the parts next door: a radiograph of one often shows the other, and a tag that names one is
    /// not plainly wrong. Judged with care towards the tag: what is listed here is never overwritten.
    pub fn neighbours(self) -> &'static [&'static str] {
        match self {
            Region::Shoulder => &[
                "CLAVICLE", "SCAPULA", "HUMERUS", "UPPERARM", "ACJOINT", "SCJOINT", "AXILLA", "RIB", "STERNUM",
                "CTSPINE",
            ],
            Region::Elbow => &["FOREARM", "RADIUSULNA", "RADIUS", "ULNA", "HUMERUS", "UPPERARM"],
            // A film of a child's forearm shows the hand as a rule.
            Region::Hand => {
                &["FINGER", "THUMB", "WRIST", "SCAPHOID", "METACARPUS", "FOREARM", "RADIUSULNA", "RADIUS", "ULNA"]
            }
            // An abdominal film of an adult shows the pelvis, and a lumbar one its upper half. What contains the pelvis
            // is not wrong either, however much else it contains: a film of a whole infant, of a trunk, of a spine.
            Region::Pelvis => &[
                "HIP",
                "SSPINE",
                "COCCYX",
                "SIJOINT",
                "ILIUM",
                "ISCHIUM",
                "ACETABULUM",
                "LSPINE",
                "LSSPINE",
                "SCSPINE",
                "FEMUR",
                "THIGH",
                "BUTTOCK",
                "ABDOMEN",
                "ABDOMENPELVIS",
                "BLADDER",
                "KIDNEY",
                "SPINE",
                "TLSPINE",
                "CHESTABDOMEN",
                "CHESTABDPELVIS",
                "TRUNK",
                "WHOLEBODY",
                "PELVISLOWEXTREMT",
            ],
            Region::Knee => {
                &["PATELLA", "FEMUR", "THIGH", "TIBIA", "FIBULA", "TIBIAFIBULA", "LOWERLEG", "CALF", "PELVISLOWEXTREMT"]
            }
        }
    }
}

/// Is `term` (a defined term) the part next door to `region`? See [`Region::neighbours`].
pub fn is_neighbour(region: Region, term: &str) -> bool {
    region.neighbours().contains(&term)
}

/// Does `term` (a defined term) name so much of the body that it is of no use: ARM, LEG, EXTREMITY, WHOLEBODY, …?
pub fn is_general(term: &str) -> bool {
    table::PARTS.iter().any(|p| p.term == term && p.general)
}

/// Is a raw tag one of the words that a site declares to be one with a region (`classify.same_as`)?
pub fn is_declared(raw: &str, words: &[String]) -> bool {
    let tag = normalise(raw);
    let same = |word: &String| {
        word.trim().eq_ignore_ascii_case(raw.trim())
            || match (normalise(word), &tag) {
                (Tag::Term { term: a, .. }, Tag::Term { term: b, .. }) => a == *b,
                // Two placeholders have nothing in common but that they say nothing.
                (Tag::General(a), Tag::General(b)) => a == *b && a != PLACEHOLDER,
                _ => false,
            }
    };
    tag != Tag::Empty && words.iter().any(same)
}

/// Does a raw tag name `region`: by its term, by another name, or by a word that the site declares to be one with it?
pub fn names(raw: &str, region: Region, same: &[String]) -> bool {
    matches!(normalise(raw), Tag::Term { term, .. } if term == region.term()) || is_declared(raw, same)
}

/// The defined term for a code of Anatomic Region Sequence: SNOMED CT (`SCT`), and the older SNOMED-RT identifiers
/// (`SRT`, `SNM3`, `99SDM`), with the codes that later editions of PS3.16 retired (PELVIS 12921003, CHEST 43799004).
/// Scheme and value may be padded; `None`: the table does not know the code.
pub fn term_of_code(scheme: &str, value: &str) -> Option<&'static str> {
    let pad = |c: char| c == ' ' || c == '\0';
    let value = value.trim_matches(pad);
    match scheme.trim_matches(pad) {
        "SCT" => table::by_sct(value),
        // Some senders put the CT value under the RT designator, or the reverse in the years of change.
        "SRT" | "SNM3" | "99SDM" => table::by_srt(value).or_else(|| table::by_sct(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PS3.16 Annex L, 2026a.
    const ANNEX_L: [(&str, &str); 30] = [
        ("SHOULDER", "16982005"),
        ("ELBOW", "16953009"),
        ("HAND", "85562004"),
        ("PELVIS", "816092008"),
        ("KNEE", "72696002"),
        ("HIP", "24136001"),
        ("CHEST", "816094009"),
        ("ABDOMEN", "818981001"),
        ("SKULL", "89546000"),
        ("CSPINE", "122494005"),
        ("TSPINE", "122495006"),
        ("LSPINE", "122496007"),
        ("FOOT", "56459004"),
        ("ANKLE", "70258002"),
        ("TOE", "29707007"),
        ("CALCANEUS", "80144004"),
        ("LOWERLEG", "30021000"),
        ("TIBIA", "12611008"),
        ("PATELLA", "64234005"),
        ("FEMUR", "71341001"),
        ("THIGH", "68367000"),
        ("WRIST", "74670003"),
        ("FINGER", "7569003"),
        ("THUMB", "76505004"),
        ("FOREARM", "14975008"),
        ("RADIUSULNA", "110535000"),
        ("HUMERUS", "85050009"),
        ("UPPERARM", "40983000"),
        ("CLAVICLE", "51299004"),
        ("SCAPULA", "79601000"),
    ];

    #[test]
    fn every_term_of_annex_l_has_its_code_and_reads_as_itself() {
        for (term, code) in ANNEX_L {
            assert_eq!(term_of_code("SCT", code), Some(term), "{code}");
            assert_eq!(table::row(term).and_then(|p| p.sct.first().copied()), Some(code), "{term}");
            assert_eq!(normalise(term), Tag::Term { term, exact: true });
        }
    }

    #[test]
    fn what_a_region_writes_is_the_annex_l_code_of_its_term() {
        for region in Region::ALL {
            assert!(ANNEX_L.contains(&(region.term(), region.code().value)));
            assert_eq!(Region::from_term(region.term()), Some(region));
            assert_eq!(term_of_code("SCT", region.code().value), Some(region.term()));
        }
    }

    #[test]
    fn retired_and_legacy_codes_are_read() {
        assert_eq!(term_of_code("SCT", "12921003"), Some("PELVIS"));
        assert_eq!(term_of_code("SCT", "43799004"), Some("CHEST"));
        for (code, term) in [
            ("T-D2220", "SHOULDER"),
            ("T-15430", "ELBOW"),
            ("T-D8300", "ELBOW"),
            ("T-D8700", "HAND"),
            ("T-D6000", "PELVIS"),
            ("T-D9200", "KNEE"),
            ("T-15720", "KNEE"),
            ("T-15710", "HIP"),
            ("T-D3000", "CHEST"),
            ("T-D0300", "EXTREMITY"),
            ("T-D8200", "UPPERARM"),
            ("T-D9400", "LOWERLEG"),
            ("T-D8000", "ARM"),
            ("T-D9000", "LEG"),
        ] {
            for scheme in ["SRT", "SNM3", "99SDM", "SRT "] {
                assert_eq!(term_of_code(scheme, code), Some(term), "{scheme} {code}");
            }
            assert_eq!(term_of_code("SCT", code), None);
            assert_eq!(term_of_code("99LOCAL", code), None);
        }
        assert_eq!(term_of_code("SRT", "72696002"), Some("KNEE"));
        assert_eq!(term_of_code("SCT", ""), None);
    }

    #[test]
    fn neighbours_are_terms_of_the_table_and_no_region_neighbours_a_region() {
        for region in Region::ALL {
            for term in region.neighbours() {
                assert!(table::row(term).is_some(), "{term}");
                assert_eq!(Region::from_term(term), None, "{term}");
                // A limb is too general to be of use; what holds the trunk together may well be meant.
                let contains_pelvis = region == Region::Pelvis && ["TRUNK", "WHOLEBODY"].contains(term);
                assert!(!is_general(term) || contains_pelvis, "{term}");
            }
        }
        for term in ["SPINE", "TLSPINE", "CHESTABDPELVIS", "CHESTABDOMEN", "KIDNEY", "WHOLEBODY", "TRUNK"] {
            assert!(is_neighbour(Region::Pelvis, term), "{term}");
        }
        assert!(is_neighbour(Region::Shoulder, "CTSPINE"));
        assert!(!is_neighbour(Region::Knee, "ANKLE"));
        assert!(is_neighbour(Region::Pelvis, "HIP"));
        assert!(is_neighbour(Region::Knee, "PATELLA"));
        assert!(!is_neighbour(Region::Knee, "FOOT"));
        assert!(!is_neighbour(Region::Shoulder, "CHEST"));
    }

    #[test]
    fn general_terms() {
        for term in ["ARM", "LEG", "EXTREMITY", "WHOLEBODY"] {
            assert!(is_general(term));
        }
        assert!(!is_general("KNEE"));
        assert!(!is_general("LOWERLEG"));
    }
}
