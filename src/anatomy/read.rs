//! Reading a raw BodyPartExamined: fold, take sides and views off, look up.

use super::table::{PARTS, PLACEHOLDER};
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// What a BodyPartExamined says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Absent, or nothing but padding.
    Empty,
    /// A part.
    Term {
        /// Its defined term.
        term: &'static str,
        /// The tag is the defined term, letter by letter.
        exact: bool,
    },
    /// Too general to be of use: the term (`ARM`, `LEG`, `EXTREMITY`, …), or `UNKNOWN` for a word that names no part
    /// (`OTHER`, `XXXX`, `-`).
    General(&'static str),
    /// Not in the table: as it came, cut to 64 characters, control characters replaced.
    Unknown(String),
}

/// A tag longer than this many bytes is not looked at: CS has 16, and nothing honest comes near.
const LONGEST: usize = 128;
/// More words than this are not looked at.
const MOST_WORDS: usize = 8;
/// Shorter words are not taken for a part with a side glued on, as in LHAND.
const SHORTEST_GLUED: usize = 3;

/// Sides, in the languages of the table. As whole words at either end they say nothing about the part.
const SIDES: &str = "L R LT RT LFT RGT LEFT RIGHT LI RE LINKS RECHTS G D GAUCHE DROIT DROITE IZQ DER IZQUIERDA IZQUIERDO \
    DERECHA DERECHO SX DX SIN SINISTRA SINISTRO DESTRA DESTRO ESQ DIR ESQUERDA ESQUERDO DIREITA DIREITO \
    VANSTER HOGER B BI BIL BILAT BILATERAL BOTH BDS BEIDE BEIDSEITS UNILATERAL";

/// Views, numbers of views and other words that surround a part.
const AROUND: &str = "AP PA LAT LATERAL LATERALE OBL OBLIQUE AXIAL AX FRONTAL FACE PROFIL STANDING SUPINE ERECT WB \
    WEIGHTBEARING STEHEND V VIEW VIEWS 1V 2V 3V 4V VW XR XRAY DR CR RX RADIOGRAPH JOINT BONE BONES REGION \
    ROUTINE ADULT PEDS PED CHILD PORTABLE";

/// Sides that are glued to a part without a gap, the longest first.
const GLUED: &[&str] = &["BILAT", "RIGHT", "LEFT", "LT", "RT", "L", "R"];

static SAYS_NO_PART: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| SIDES.split_whitespace().chain(AROUND.split_whitespace()).collect());

static NAMES: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for (row, part) in PARTS.iter().enumerate() {
        for name in std::iter::once(part.term).chain(part.names.split_whitespace()) {
            names.entry(name).or_insert(row);
        }
    }
    names
});

/// Reads a raw BodyPartExamined. Never fails, whatever it is given; the work is bounded.
///
/// Case, diacritics and separators do not matter; sides and views at either end are taken off (`L HAND`, `knee_ap`,
/// `RTSHOULDER`); the longest reading wins, so that `L SPINE` is the lumbar spine. Several words that name one part
/// (`KNIE/GENOU`) are that part; words that name two (`HAND/WRIST`) are unknown, and so is whatever is not in the table.
pub fn normalise(raw: &str) -> Tag {
    let raw = raw.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    if raw.is_empty() {
        return Tag::Empty;
    }
    if raw.len() > LONGEST {
        return unknown(raw);
    }
    if let Some(part) = PARTS.iter().find(|p| p.term == raw) {
        return if part.general { Tag::General(part.term) } else { Tag::Term { term: part.term, exact: true } };
    }
    let words = words(raw);
    if words.len() > MOST_WORDS {
        return unknown(raw);
    }
    match read(&words) {
        Some(row) if PARTS[row].general => Tag::General(PARTS[row].term),
        Some(row) => Tag::Term { term: PARTS[row].term, exact: false },
        // A word in another script, or one that lost its characters on the way, is a word nevertheless.
        None if raw.is_ascii() && names_nothing(&words) => Tag::General(PLACEHOLDER),
        None => unknown(raw),
    }
}

fn unknown(raw: &str) -> Tag {
    Tag::Unknown(raw.chars().take(64).map(|c| if c.is_control() { '?' } else { c }).collect())
}

/// The row that the words name, if it is one.
fn read(words: &[String]) -> Option<usize> {
    let front = words.iter().take_while(|w| says_no_part(w)).count();
    let back = words.iter().rev().take_while(|w| says_no_part(w)).count();
    for length in (1..=words.len()).rev() {
        let mut found = None;
        for start in 0..=(words.len() - length) {
            // Only words that say no part may be left out.
            if start > front || words.len() - (start + length) > back {
                continue;
            }
            if let Some(row) = look_up(&words[start..start + length]) {
                if found.is_some_and(|f| f != row) {
                    return None;
                }
                found = Some(row);
            }
        }
        if found.is_some() {
            return found;
        }
    }
    None
}

fn look_up(words: &[String]) -> Option<usize> {
    let joined = words.concat();
    if let Some(row) = NAMES.get(joined.as_str()) {
        return Some(*row);
    }
    if let [_] = words {
        return unglue(&joined);
    }
    // The same part said twice, as in a bilingual department.
    let mut rows = words.iter().map(|w| NAMES.get(w.as_str()).copied());
    let first = rows.next()??;
    rows.all(|r| r == Some(first)).then_some(first)
}

fn unglue(word: &str) -> Option<usize> {
    let part = |rest: &str| (rest.len() >= SHORTEST_GLUED).then(|| NAMES.get(rest).copied()).flatten();
    GLUED
        .iter()
        .find_map(|side| word.strip_prefix(side).and_then(part))
        .or_else(|| GLUED.iter().find_map(|side| word.strip_suffix(side).and_then(part)))
}

fn says_no_part(word: &str) -> bool {
    SAYS_NO_PART.contains(word) || (word.len() <= 2 && word.bytes().all(|b| b.is_ascii_digit()))
}

/// Nothing but punctuation, sides and views, or what stands for nothing (`X`, `XXXX`, `0000`, `9`).
///
/// A letter or two may be somebody's short form (`H` for the hand, `LL` for a limb, `L 5`, `C 7` for a vertebra): no
/// placeholder, whatever stands beside it.
fn names_nothing(words: &[String]) -> bool {
    let stands_for_nothing = |w: &str| ["X", "0", "9"].iter().any(|c| w.trim_start_matches(c).is_empty());
    let is_number = |w: &str| w.bytes().all(|b| b.is_ascii_digit());
    let fits = |w: &str| stands_for_nothing(w) || (w.len() > 1 || is_number(w)) && says_no_part(w);
    // A number by itself is somebody's list of parts.
    words.iter().all(|w| fits(w)) && (words.is_empty() || words.iter().any(|w| stands_for_nothing(w) || !is_number(w)))
}

/// Upper case, no diacritics, split at whatever is neither letter nor digit.
fn words(raw: &str) -> Vec<String> {
    let mut folded = String::with_capacity(raw.len());
    for c in raw.chars() {
        fold(c, &mut folded);
    }
    folded.split(' ').filter(|w| !w.is_empty()).map(String::from).collect()
}

fn fold(c: char, out: &mut String) {
    let plain = match c {
        'a'..='z' => return out.push(c.to_ascii_uppercase()),
        'A'..='Z' | '0'..='9' => return out.push(c),
        // A combining mark belongs to the letter before it.
        '\u{300}'..='\u{36F}' => return,
        'À'..='Å' | 'à'..='å' | 'Ā'..='ą' => "A",
        'Æ' | 'æ' => "AE",
        'Ç' | 'ç' | 'Ć'..='č' => "C",
        'Ď'..='đ' => "D",
        'È'..='Ë' | 'è'..='ë' | 'Ē'..='ě' => "E",
        'Ğ' | 'ğ' => "G",
        'Ì'..='Ï' | 'ì'..='ï' | 'Ī'..='ı' => "I",
        'Ł' | 'ł' => "L",
        'Ñ' | 'ñ' | 'Ń'..='ň' => "N",
        'Ò'..='Ö' | 'Ø' | 'ò'..='ö' | 'ø' | 'Ō'..='ő' => "O",
        'Œ' | 'œ' => "OE",
        'Ř' | 'ř' => "R",
        'Ś' | 'ś' | 'Ş' | 'ş' | 'Š' | 'š' => "S",
        'ß' => "SS",
        'Ť' | 'ť' | 'Ţ' | 'ţ' => "T",
        'Ù'..='Ü' | 'ù'..='ü' | 'Ū'..='ű' => "U",
        'Ý' | 'ý' | 'ÿ' => "Y",
        'Ź'..='ž' => "Z",
        _ if c.is_alphanumeric() => return out.extend(c.to_uppercase()),
        _ => " ",
    };
    out.push_str(plain);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn term(raw: &str) -> Option<&'static str> {
        match normalise(raw) {
            Tag::Term { term, .. } => Some(term),
            _ => None,
        }
    }

    #[test]
    fn no_name_means_two_parts_and_every_name_is_folded() {
        let mut seen: HashMap<&str, &str> = HashMap::new();
        for part in PARTS {
            for name in std::iter::once(part.term).chain(part.names.split_whitespace()) {
                if let Some(other) = seen.insert(name, part.term) {
                    panic!("{name} is both {other} and {}", part.term);
                }
                assert_eq!(words(name), [name], "not folded");
            }
        }
    }

    #[test]
    fn no_code_means_two_parts() {
        let mut seen = HashMap::new();
        for part in PARTS {
            for code in part.sct.iter().chain(part.srt) {
                assert_eq!(seen.insert(code, part.term), None, "{code}");
            }
        }
    }

    #[test]
    fn every_term_and_name_reads_as_its_part() {
        for part in PARTS {
            for name in std::iter::once(part.term).chain(part.names.split_whitespace()) {
                match normalise(name) {
                    Tag::Term { term, exact } => {
                        assert_eq!((term, exact, part.general), (part.term, name == part.term, false), "{name}");
                    }
                    Tag::General(term) => assert_eq!((term, part.general), (part.term, true), "{name}"),
                    tag => panic!("{name}: {tag:?}"),
                }
            }
        }
    }

    #[test]
    fn spellings_sides_views_and_languages() {
        for (raw, expected) in [
            ("L HAND", "HAND"),
            ("hand", "HAND"),
            ("HAND_RIGHT", "HAND"),
            ("RTHAND", "HAND"),
            ("HANDL", "HAND"),
            ("MANO", "HAND"),
            ("Mano derecha", "HAND"),
            ("MAIN G", "HAND"),
            ("BECKEN", "PELVIS"),
            ("BASSIN", "PELVIS"),
            ("GENOU", "KNEE"),
            ("GENOU FACE", "KNEE"),
            ("RODILLA", "KNEE"),
            ("KNEE AP/LAT", "KNEE"),
            ("KNEE 2 VIEWS", "KNEE"),
            ("BILAT KNEES", "KNEE"),
            ("KNIE/GENOU", "KNEE"),
            ("PELVE", "PELVIS"),
            ("GINOCCHI", "KNEE"),
            ("KNIEGELENKE BEIDSEITS", "KNEE"),
            ("CARPO", "WRIST"),
            ("Munheca D", "WRIST"),
            ("Omero SX", "HUMERUS"),
            ("Ilio-Sakralgelenk", "SIJOINT"),
            ("Dedo de la mano", "FINGER"),
            ("EPAULE", "SHOULDER"),
            ("ÉPAULE", "SHOULDER"),
            ("E\u{301}paule", "SHOULDER"),
            ("SCHULTER", "SHOULDER"),
            ("SHOULDER JOINT", "SHOULDER"),
            ("COUDE", "ELBOW"),
            ("ELLENBOGEN", "ELBOW"),
            ("armbåge", "ELBOW"),
            ("Hüfte", "HIP"),
            ("HUEFTE RE", "HIP"),
            ("HANDGELENK", "WRIST"),
            ("колено", "KNEE"),
            ("L SPINE", "LSPINE"),
            ("L-S SPINE", "LSSPINE"),
            ("T SPINE LAT", "TSPINE"),
            ("TIB/FIB", "TIBIAFIBULA"),
            ("THORAX PA", "CHEST"),
            ("FACE", "FACE"),
            ("RTOE", "TOE"),
        ] {
            assert_eq!(term(raw), Some(expected), "{raw}");
        }
    }

    #[test]
    fn only_the_defined_term_itself_is_exact() {
        assert_eq!(normalise("KNEE "), Tag::Term { term: "KNEE", exact: true });
        assert_eq!(normalise("Knee"), Tag::Term { term: "KNEE", exact: false });
        assert_eq!(normalise("KNEES"), Tag::Term { term: "KNEE", exact: false });
    }

    #[test]
    fn too_general_and_placeholders() {
        for (raw, expected) in [
            ("ARM", "ARM"),
            ("L ARM", "ARM"),
            ("UPPER EXTREMITY", "ARM"),
            ("UP_EXM", "ARM"),
            ("LEG", "LEG"),
            ("LLEG", "LEG"),
            ("EXTREMITIES", "EXTREMITY"),
            ("WHOLE BODY", "WHOLEBODY"),
            ("OTHER", "UNKNOWN"),
            ("XXXX", "UNKNOWN"),
            ("-", "UNKNOWN"),
            ("???", "UNKNOWN"),
            ("N/A", "UNKNOWN"),
            ("0", "UNKNOWN"),
            ("LEFT", "UNKNOWN"),
            ("X", "UNKNOWN"),
            ("x.x", "UNKNOWN"),
            ("9", "UNKNOWN"),
            ("999", "UNKNOWN"),
            ("XR 2 VIEWS", "UNKNOWN"),
        ] {
            assert_eq!(normalise(raw), Tag::General(expected), "{raw}");
        }
    }

    #[test]
    fn empty_is_empty() {
        for raw in ["", " ", "\0", " \0 ", "\t\r\n"] {
            assert_eq!(normalise(raw), Tag::Empty);
        }
    }

    #[test]
    fn what_the_table_cannot_read_or_reads_twice_is_unknown() {
        for raw in
            ["HAND/WRIST", "HAND\\KNEE", "KNEEHAND", "手", "\u{FFFD}\u{FFFD}", "KNEE REPLACEMENT", "LONG LEG", "L5"]
                .into_iter()
                .chain(["H", "P", "C", "L", "LL", "L R", "L 5", "C 7 LAT", "12", "HHH", "\u{410}"])
        {
            assert_eq!(normalise(raw), Tag::Unknown(raw.to_string()), "{raw}");
        }
        let Tag::Unknown(cut) = normalise(&"A1\u{7}".repeat(100_000)) else { panic!("read") };
        assert!(cut.chars().count() == 64 && cut.contains('?') && !cut.contains('\u{7}'));
    }

    proptest! {
        #[test]
        fn never_panics(raw in ".{0,200}") {
            let _ = normalise(&raw);
        }

        #[test]
        fn never_panics_on_bytes(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = normalise(&String::from_utf8_lossy(&raw));
        }

        #[test]
        fn a_side_before_or_behind_never_changes_the_part(row in 0..PARTS.len(), side in 0..SIDES.split_whitespace().count(), before: bool) {
            let (name, side) = (PARTS[row].term, SIDES.split_whitespace().nth(side).unwrap());
            let sided = if before { format!("{side} {name}") } else { format!("{name} {side}") };
            // L SPINE and D SPINE are other parts than SPINE, and L SSPINE is the lumbosacral spine.
            prop_assume!(name != "SPINE" && !PARTS.iter().any(|part| part.term == format!("{side}{name}")));
            let plain = match normalise(name) {
                Tag::Term { term, .. } => Tag::Term { term, exact: false },
                tag => tag,
            };
            prop_assert_eq!(normalise(&sided), plain);
        }
    }
}
