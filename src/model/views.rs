//! Judging an image in several orientations. A network is not indifferent to how an image is turned; the mean over all turns is.

use super::ModelError;
use super::cam::ActivationMap;
use crate::preprocess::{VIEWS, view};

/// How many squares go through the network at once.
const BATCH: usize = 16;

/// The orientations of eight in an order in which the first two and four differ as much as they can: see [`view`].
const ORDER: [usize; 8] = [0, 5, 2, 7, 1, 4, 3, 6];

/// The mean logits of each square over `views` orientations (see [`view`]); `logits` judges a batch of squares of side `size`.
pub fn averaged(
    squares: &[Vec<f32>],
    size: usize,
    views: usize,
    logits: impl Fn(&[Vec<f32>]) -> Result<Vec<Vec<f32>>, ModelError>,
) -> Result<Vec<Vec<f32>>, ModelError> {
    let means = in_stages(squares, size, views, &[views.max(1)], |_, _| false, logits)?;
    Ok(means.into_iter().map(|(mean, _)| mean).collect())
}

/// The same, and how many orientations each mean is over: a square whose mean over one, two or four of them is `settled` is done.
pub fn until_settled(
    squares: &[Vec<f32>],
    size: usize,
    views: usize,
    settled: impl Fn(&[f32], usize) -> bool,
    logits: impl Fn(&[Vec<f32>]) -> Result<Vec<Vec<f32>>, ModelError>,
) -> Result<Vec<(Vec<f32>, usize)>, ModelError> {
    in_stages(squares, size, views, &VIEWS, settled, logits)
}

/// All squares in each of `views` orientations, one after the other.
pub fn all(squares: &[Vec<f32>], size: usize, views: usize) -> impl Iterator<Item = Vec<Vec<f32>>> {
    (0..views.max(1)).map(move |index| squares.iter().map(|square| view(square, size, views, index)).collect())
}

/// Judges in so many orientations as each of `stages` says, those after it only what is not settled then.
fn in_stages(
    squares: &[Vec<f32>],
    size: usize,
    views: usize,
    stages: &[usize],
    settled: impl Fn(&[f32], usize) -> bool,
    logits: impl Fn(&[Vec<f32>]) -> Result<Vec<Vec<f32>>, ModelError>,
) -> Result<Vec<(Vec<f32>, usize)>, ModelError> {
    if let Some(square) = squares.iter().find(|s| s.len() != size * size) {
        return Err(ModelError::Input { found: square.len(), size });
    }
    let views = views.max(1);
    let order: Vec<usize> = ORDER.into_iter().filter(|i| *i < views).collect();
    let mut sums: Vec<(Vec<f32>, usize)> = vec![(Vec::new(), 0); squares.len()];
    let mut open: Vec<usize> = (0..squares.len()).collect();
    for &upto in stages.iter().filter(|n| **n <= views) {
        let asked: Vec<(usize, usize)> =
            open.iter().flat_map(|&i| order[sums[i].1..upto].iter().map(move |&v| (i, v))).collect();
        for part in asked.chunks(BATCH) {
            let turned: Vec<Vec<f32>> = part.iter().map(|&(i, v)| view(&squares[i], size, views, v)).collect();
            for (&(i, _), row) in part.iter().zip(logits(&turned)?) {
                let (sum, count) = &mut sums[i];
                sum.resize(row.len(), 0.0);
                sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
                *count += 1;
            }
        }
        open.retain(|&i| !settled(&mean(&sums[i]), upto));
    }
    Ok(sums.into_iter().map(|sum| (mean(&sum), sum.1)).collect())
}

fn mean((sum, count): &(Vec<f32>, usize)) -> Vec<f32> {
    sum.iter().map(|v| v / *count as f32).collect()
}

/// The mean activation maps of each square over `views` orientations, each turned back to the square's; `maps` gives those of
/// a batch of squares, one a head.
///
/// The mean of such a map and the bias are the mean logit of [`averaged`].
pub fn averaged_maps(
    squares: &[Vec<f32>],
    size: usize,
    views: usize,
    maps: impl Fn(&[Vec<f32>]) -> Result<Vec<Vec<ActivationMap>>, ModelError>,
) -> Result<Vec<Vec<ActivationMap>>, ModelError> {
    if let Some(square) = squares.iter().find(|s| s.len() != size * size) {
        return Err(ModelError::Input { found: square.len(), size });
    }
    let views = views.max(1);
    let mean_of = |square: &Vec<f32>| {
        let turned: Vec<Vec<f32>> = (0..views).map(|i| view(square, size, views, i)).collect();
        let of_views = maps(&turned)?;
        let mut means = of_views.first().cloned().unwrap_or_default();
        for (head, mean) in means.iter_mut().enumerate() {
            mean.values.fill(0.0);
            for (index, maps) in of_views.iter().enumerate() {
                // Where each cell of the view comes from: a turn of the cells' numbers, which are exact in single precision.
                let numbers: Vec<f32> = (0..mean.values.len()).map(|cell| cell as f32).collect();
                let places = view(&numbers, mean.side, views, index);
                for (place, value) in places.iter().zip(&maps[head].values) {
                    mean.values[*place as usize] += value / views as f32;
                }
            }
        }
        Ok(means)
    };
    squares.iter().map(mean_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The logit of a square is its first value; counts the squares asked for.
    fn first<'a>(asked: &'a std::cell::Cell<usize>) -> impl Fn(&[Vec<f32>]) -> Result<Vec<Vec<f32>>, ModelError> + 'a {
        move |squares| {
            asked.set(asked.get() + squares.len());
            Ok(squares.iter().map(|s| vec![s[0]]).collect())
        }
    }

    #[test]
    fn a_square_is_judged_in_no_more_orientations_than_settle_it() {
        // Corners 1 to 4: each of the eight orientations brings one of them to the front, each corner twice.
        let square = |scale: f32| vec![scale, 0.0, 2.0 * scale, 0.0, 0.0, 0.0, 3.0 * scale, 0.0, 4.0 * scale];
        let (near, far) = (square(1.0), square(100.0));
        let asked = std::cell::Cell::new(0);
        let settled = |mean: &[f32], _: usize| mean[0] > 50.0;
        let means = until_settled(&[near.clone(), far.clone()], 3, 8, settled, first(&asked)).unwrap();
        assert_eq!(means, [(vec![2.5], 8), (vec![100.0], 1)], "the first view of the far one is enough");
        assert_eq!(asked.get(), 9);
        let two = until_settled(std::slice::from_ref(&far), 3, 8, |_, views| views == 2, first(&asked)).unwrap();
        assert_eq!(two[0].1, 2);
        assert!(averaged(&[vec![0.0; 8]], 3, 8, first(&asked)).is_err());
    }

    #[test]
    fn all_orientations_give_the_mean_whichever_is_first() {
        let asked = std::cell::Cell::new(0);
        let squares: Vec<Vec<f32>> = (0..40).map(|i| (0..9).map(|v| (i * v) as f32).collect()).collect();
        for views in [1, 2, 4, 8] {
            let means = averaged(&squares, 3, views, first(&asked)).unwrap();
            for (square, mean) in squares.iter().zip(means) {
                let all = (0..views).map(|i| view(square, 3, views, i)[0]).sum::<f32>() / views as f32;
                assert_eq!(mean, [all]);
            }
        }
    }

    #[test]
    fn maps_of_views_are_turned_back_before_they_are_averaged() {
        // A network whose evidence is the square itself.
        let itself = |squares: &[Vec<f32>]| {
            let map = |s: &Vec<f32>| vec![ActivationMap { side: 3, values: s.clone(), bias: 0.5 }];
            Ok(squares.iter().map(map).collect())
        };
        let square: Vec<f32> = (0..9).map(|v| (v * v) as f32).collect();
        for views in VIEWS {
            let maps = averaged_maps(std::slice::from_ref(&square), 3, views, itself).unwrap();
            assert!(maps[0][0].values.iter().zip(&square).all(|(a, b)| (a - b).abs() < 1e-4), "{views}: {maps:?}");
            assert_eq!(maps[0][0].bias, 0.5);
        }
        assert!(averaged_maps(&[vec![0.0; 8]], 3, 1, itself).is_err());
    }
}
