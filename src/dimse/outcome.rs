//! What a C-STORE status means to the one who sent: delivered, retry or dead letter. Pure.
//!
//! | status | meaning (PS3.4 table B.2-1, PS3.7 Annex C) | as a sender |
//! |---|---|---|
//! | 0000 | stored | delivered |
//! | B000, B006, B007, other Bxxx, 0001, 0107, 0116 | coerced, elements discarded, mismatch: warnings, it is stored | delivered, logged |
//! | A7xx, 0213 | out of resources, resource limitation | retry, and spare the destination |
//! | 0110 | processing failure | retry |
//! | A9xx, Cxxx, 0117, 0122, 0124, 0210, 0211, 0212 | will not get better by itself | dead letter |
//! | 0111 | duplicate SOP instance: the destination keeps what it has: this instance from before a crash, or another version | dead letter |
//! | anything else | not a status of C-STORE | retry |
//!
//! A dead letter is not a loss: the instance stays in the spool until an administrator decides. What the table does not
//! know is tried again, since a destination that is being repaired says odd things.

/// Where a status sends a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The destination has it.
    Delivered,
    /// The destination has it, and has something to say about it.
    Warned,
    /// Later, this instance alone.
    Retry,
    /// Later, and the destination as a whole is to be spared: it has run out of something.
    Spare,
    /// Will not get better by itself.
    Dead,
}

/// What a status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// What to do.
    pub fate: Fate,
    /// In plain words, for the log and the audit.
    pub words: &'static str,
}

/// The meaning of a C-STORE response's Status (0000,0900).
pub fn of_c_store(status: u16) -> Meaning {
    let (fate, words) = match status {
        0x0000 => (Fate::Delivered, "stored"),
        0x0001 | 0x0107 | 0x0116 => (Fate::Warned, "stored with a warning"),
        0xB000 => (Fate::Warned, "stored, data elements coerced"),
        0xB006 => (Fate::Warned, "stored, elements discarded"),
        0xB007 => (Fate::Warned, "stored, data set does not match SOP class"),
        0xB001..=0xBFFF => (Fate::Warned, "stored with a warning"),
        0xA700..=0xA7FF => (Fate::Spare, "refused: out of resources"),
        0x0213 => (Fate::Spare, "resource limitation"),
        0x0110 => (Fate::Retry, "processing failure"),
        0xA900..=0xA9FF => (Fate::Dead, "error: data set does not match SOP class"),
        0xC000..=0xCFFF => (Fate::Dead, "error: cannot understand"),
        0x0111 => (
            Fate::Dead,
            "duplicate SOP instance: the destination keeps what it has, which may be this same instance, delivered before a \
             crash or a lost response; compare them, then radroute queue drop",
        ),
        0x0117 => (Fate::Dead, "invalid SOP instance"),
        0x0122 => (Fate::Dead, "SOP class not supported"),
        0x0124 => (Fate::Dead, "refused: not authorised"),
        0x0210 => (Fate::Dead, "duplicate invocation"),
        0x0211 => (Fate::Dead, "unrecognised operation"),
        0x0212 => (Fate::Dead, "mistyped argument"),
        _ => (Fate::Retry, "a status that C-STORE does not have"),
    };
    Meaning { fate, words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        for (status, fate) in [
            (0x0000, Fate::Delivered),
            (0x0001, Fate::Warned),
            (0xB000, Fate::Warned),
            (0xB006, Fate::Warned),
            (0xB007, Fate::Warned),
            (0xB123, Fate::Warned),
            (0xA700, Fate::Spare),
            (0xA7FF, Fate::Spare),
            (0x0213, Fate::Spare),
            (0x0110, Fate::Retry),
            (0xA800, Fate::Retry),
            (0xA900, Fate::Dead),
            (0xA9FF, Fate::Dead),
            (0xC000, Fate::Dead),
            (0xCFFF, Fate::Dead),
            (0x0111, Fate::Dead),
            (0x0117, Fate::Dead),
            (0x0122, Fate::Dead),
            (0x0124, Fate::Dead),
            (0x0210, Fate::Dead),
            (0x0211, Fate::Dead),
            (0x0212, Fate::Dead),
            (0xFF00, Fate::Retry),
            (0xD000, Fate::Retry),
            (0x0002, Fate::Retry),
        ] {
            assert_eq!(of_c_store(status).fate, fate, "{status:04X}");
        }
    }

    /// An administrator must not think that another image stands there: it may be ours.
    #[test]
    fn a_duplicate_may_be_our_own() {
        assert!(of_c_store(0x0111).words.contains("before a crash"));
    }

    /// Nothing but success and warnings may ever count as delivered.
    #[test]
    fn no_failure_is_taken_for_success() {
        for status in 0..=u16::MAX {
            let told = matches!(of_c_store(status).fate, Fate::Delivered | Fate::Warned);
            let warning = matches!(status, 0x0001 | 0x0107 | 0x0116) || status >> 12 == 0xB;
            assert_eq!(told, status == 0 || warning, "{status:04X}");
        }
    }
}
