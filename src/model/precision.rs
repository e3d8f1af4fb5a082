//! Which arithmetic the network runs in: single precision, or whole numbers where the card says that verdicts stay the same.

use super::ModelError;
use super::card::Card;
use super::engine::int8::range::MapSteps;
use super::engine::int8::{MAPS, STEPS};
use super::engine::isa::Isa;
use super::weights::BLOCKS;
use crate::config::PrecisionChoice;
use serde::{Deserialize, Serialize};

/// The least share of verdicts as in single precision with which `auto` takes whole numbers.
pub const LEAST_AGREEMENT: f64 = 0.995;
/// The most that the mean AUC may fall by.
pub const MOST_FALL: f64 = 0.002;
/// The most that logits may differ by, as the root of the mean square: about a hundredth of a probability. Verdicts that stay
/// the same on some hundred images say little of the next image; logits that stay near say more.
pub const MOST_DIFFERENCE: f64 = 0.04;

/// How maps are quantised, and what was measured of it on validation images: `evaluate --fit` writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Int8 {
    /// For each network of the card (one, or one a head) what a byte of its maps stands for.
    pub steps: Vec<MapSteps>,
    /// How many blocks behind the stem stay in single precision, 0 to 7.
    pub single: usize,
    /// Images judged both ways, each from all eight orientations.
    pub images: usize,
    /// The share of verdicts that were the same, 0 to 1.
    pub agreement: f64,
    /// Mean AUC over the regions in single precision; none where the images do not tell.
    pub auc_f32: Option<f64>,
    /// The same in whole numbers.
    pub auc_int8: Option<f64>,
    /// By how much logits differ from single precision, as the root of the mean square over the images and changed copies; none in
    /// a card from before it was measured.
    #[serde(default)]
    pub difference: Option<f64>,
}

impl Int8 {
    /// By how much the AUC falls; negative: it rises.
    pub fn fall(&self) -> Option<f64> {
        Some(self.auc_f32? - self.auc_int8?)
    }

    /// Whether `auto` may take whole numbers.
    pub fn holds(&self) -> bool {
        self.images > 0
            && self.agreement >= LEAST_AGREEMENT
            && self.fall().is_some_and(|fall| fall <= MOST_FALL)
            && self.difference.is_none_or(|difference| difference <= MOST_DIFFERENCE)
    }

    /// In words, for the card and the terminal.
    pub fn told(&self) -> String {
        let auc = match (self.auc_f32, self.auc_int8) {
            (Some(f32), Some(int8)) => format!("the mean AUC is {int8:.4} (single precision: {f32:.4})"),
            _ => "the AUC cannot be told".to_owned(),
        };
        let near = self
            .difference
            .map(|apart| format!(", logits differ by {apart:.3} (root mean square)"))
            .unwrap_or_default();
        format!(
            "arithmetic in whole numbers (int8) behind the stem and {} block(s) is {}: of {} verdicts, {:.2} % are those of single precision{near}, and {auc}",
            self.single,
            if self.holds() { "used where the CPU has instructions for it" } else { "not used unless asked for" },
            8 * self.images,
            100.0 * self.agreement,
        )
    }

    /// What must hold for a card of so many networks; the error says what does not.
    pub(super) fn check(&self, networks: usize) -> Result<(), String> {
        if self.steps.len() != networks || self.steps.iter().any(|steps| steps.all().is_none()) {
            return Err(format!(
                "int8.steps: {networks} times {MAPS} maps and {STEPS} channels are needed, all above 0"
            ));
        }
        if self.single >= BLOCKS.len() {
            return Err(format!("int8.single is not within 0 to {}", BLOCKS.len() - 1));
        }
        let part = |v: f64| (0.0..=1.0).contains(&v);
        let parts = [Some(self.agreement), self.auc_f32, self.auc_int8];
        if !parts.into_iter().flatten().all(part) {
            return Err("int8: agreement, auc_f32 or auc_int8 is not within 0 to 1".into());
        }
        if self.difference.is_some_and(|difference| !(0.0..=f64::MAX).contains(&difference)) {
            return Err("int8.difference is not a number of 0 or more".into());
        }
        Ok(())
    }
}

/// The arithmetic that a classifier runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    F32,
    /// Whole numbers of 8 bits.
    Int8,
}

impl Precision {
    /// As in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Int8 => "int8",
        }
    }
}

/// What a choice comes to, and why. `isa`: of the CPU; none where a GPU computes.
///
/// # Errors
/// `int8` with a card that says nothing of it, or on a GPU.
pub fn chosen(choice: PrecisionChoice, card: &Card, isa: Option<Isa>) -> Result<(Precision, &'static str), ModelError> {
    let auto = match (&card.int8, isa) {
        (_, None) => (Precision::F32, "a GPU computes in it"),
        (None, _) => (Precision::F32, "the model card knows of nothing else"),
        (Some(int8), _) if !int8.holds() => (Precision::F32, "by the model card, whole numbers change too much"),
        (_, Some(isa)) if !isa.fast_in_whole_numbers() => {
            (Precision::F32, "whole numbers gain little with the instructions of this CPU")
        }
        _ => (Precision::Int8, "by the model card, verdicts stay the same"),
    };
    match (choice, isa, &card.int8) {
        (PrecisionChoice::Auto, _, _) => Ok(auto),
        (PrecisionChoice::F32, _, _) => Ok((Precision::F32, "the configuration says so")),
        (PrecisionChoice::Int8, None, _) => Err(ModelError::WholeOnGpu),
        (PrecisionChoice::Int8, _, None) => Err(ModelError::NotQuantised { name: card.name.clone() }),
        (PrecisionChoice::Int8, _, Some(int8)) if !int8.holds() => {
            Ok((Precision::Int8, "the configuration says so, although by the model card it changes too much"))
        }
        (PrecisionChoice::Int8, _, _) => Ok((Precision::Int8, "the configuration says so")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine::isa::Level;
    use std::path::Path;

    #[test]
    fn auto_takes_whole_numbers_where_they_hold_and_are_faster() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/radroute.json");
        let mut card = Card::read(&file).unwrap();
        let auto = |card: &Card, isa| chosen(PrecisionChoice::Auto, card, isa).unwrap().0;
        for isa in Isa::available().into_iter().flat_map(|isa| [isa, isa.without_vnni()]) {
            let faster = isa.vnni() || isa.level() == Level::Avx2;
            assert_eq!(auto(&card, Some(isa)), if faster { Precision::Int8 } else { Precision::F32 }, "{isa:?}");
        }
        assert_eq!(auto(&card, None), Precision::F32);
        card.int8.as_mut().unwrap().difference = Some(2.0 * MOST_DIFFERENCE);
        assert_eq!(auto(&card, Some(Isa::best())), Precision::F32);
        card.int8 = None;
        assert_eq!(auto(&card, Some(Isa::best())), Precision::F32);
        assert!(chosen(PrecisionChoice::Int8, &card, Some(Isa::best())).is_err());
    }
}
