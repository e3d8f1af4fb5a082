//! Keeping images apart: splits by group, stratified by region. Pure.

use super::manifest::Split;
use std::collections::BTreeMap;

/// What is to be known of an image.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Image<'a> {
    pub group: &'a str,
    pub region: &'a str,
}

/// Shares of the images of each region, by split; their sum is 1.
pub type Shares = [(Split, f64); 3];

/// Where a table does not say: one image in five judges.
pub const SHARES: Shares = [(Split::Train, 0.8), (Split::Validation, 0.2), (Split::Test, 0.0)];

/// Gives each group to a split, so that each region's images are shared out as nearly as whole groups allow.
///
/// A group counts for the region that most of its images show. The large groups are given away first, and those of the
/// same size in an order that `seed` and their names decide, each to the split that is furthest below its share. The order of the
/// images changes nothing.
pub fn assign<'a>(images: impl IntoIterator<Item = Image<'a>>, shares: &Shares, seed: u64) -> BTreeMap<&'a str, Split> {
    let mut groups: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for image in images {
        *groups.entry(image.group).or_default().entry(image.region).or_default() += 1;
    }
    let mut strata: BTreeMap<&str, Vec<(usize, String, &str)>> = BTreeMap::new();
    for (group, regions) in groups {
        let images = regions.values().sum();
        // The first of those that are equally frequent.
        let Some((region, _)) = regions.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0))) else { continue };
        strata.entry(region).or_default().push((images, order(seed, group), group));
    }
    let mut assigned = BTreeMap::new();
    for mut groups in strata.into_values() {
        groups.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let mut given = [0; 3];
        for (images, _, group) in groups {
            // Sainte-Laguë's method: a region of three images has one of them in a fifth.
            let claim = |i: usize| shares[i].1 / (2 * given[i] + images) as f64;
            let most = (1..3).fold(0, |most, i| if claim(i) > claim(most) { i } else { most });
            given[most] += images;
            assigned.insert(group, shares[most].0);
        }
    }
    assigned
}

/// Sorts names at random, by a seed.
pub fn order(seed: u64, name: &str) -> String {
    crate::model::sha256(format!("{seed}\0{name}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAPER: Shares = [(Split::Train, 0.64), (Split::Validation, 0.12), (Split::Test, 0.24)];

    fn count(images: &[(String, String)], region: &str, assigned: &BTreeMap<&str, Split>) -> [usize; 3] {
        [Split::Train, Split::Validation, Split::Test]
            .map(|split| images.iter().filter(|(group, r)| r == region && assigned[group.as_str()] == split).count())
    }

    fn all(images: &[(String, String)]) -> impl Iterator<Item = Image<'_>> {
        images.iter().map(|(group, region)| Image { group, region })
    }

    #[test]
    fn few_images_are_shared_out_too() {
        let images: Vec<_> = (0..3).map(|i| (format!("g{i}"), "HAND".to_owned())).collect();
        assert_eq!(count(&images, "HAND", &assign(all(&images), &SHARES, 1)), [2, 1, 0]);
        assert_eq!(count(&images[..1], "HAND", &assign(all(&images[..1]), &SHARES, 1)), [1, 0, 0]);
    }

    #[test]
    fn fifty_patients_a_region_are_shared_out_exactly_and_otherwise_for_another_seed() {
        let images: Vec<_> =
            ["HAND", "KNEE"].iter().flat_map(|r| (0..50).map(move |i| (format!("{r}{i}"), (*r).to_owned()))).collect();
        let assigned = assign(all(&images), &PAPER, 1);
        for region in ["HAND", "KNEE"] {
            assert_eq!(count(&images, region, &assigned), [32, 6, 12]);
        }
        assert_ne!(assigned, assign(all(&images), &PAPER, 2));
        let mut turned = images.clone();
        turned.reverse();
        assert_eq!(assigned, assign(all(&turned), &PAPER, 1));
    }

    proptest! {
        #[test]
        fn shares_hold_but_for_a_group(sizes in prop::collection::vec(1usize..9, 1..60), seed in 0u64..5) {
            let images: Vec<_> = sizes
                .iter()
                .enumerate()
                .flat_map(|(g, &size)| (0..size).map(move |_| (format!("g{g}"), ["HAND", "KNEE"][g % 2].to_owned())))
                .collect();
            let assigned = assign(all(&images), &PAPER, seed);
            prop_assert_eq!(assigned.len(), sizes.len());
            for region in ["HAND", "KNEE"] {
                let counts = count(&images, region, &assigned);
                let total: usize = counts.iter().sum();
                for (n, (_, share)) in counts.iter().zip(PAPER) {
                    prop_assert!((*n as f64 - share * total as f64).abs() < 9.0, "{:?} of {}", counts, total);
                }
            }
        }
    }
}
