//! Judging an image in several orientations. A network is not indifferent to how an image is turned; the mean over all turns is.

use super::ModelError;
use super::cam::ActivationMap;
use crate::preprocess::view;

/// How many squares go through the network at once.
const BATCH: usize = 16;

/// The mean logits of each square over `views` orientations (see [`view`]); `logits` judges a batch of squares of side `size`.
pub fn averaged(
    squares: &[Vec<f32>],
    size: usize,
    views: usize,
    logits: impl Fn(&[Vec<f32>]) -> Result<Vec<Vec<f32>>, ModelError>,
) -> Result<Vec<Vec<f32>>, ModelError> {
    if let Some(square) = squares.iter().find(|s| s.len() != size * size) {
        return Err(ModelError::Input { found: square.len(), size });
    }
    let views = views.max(1);
    let mut means = Vec::with_capacity(squares.len());
    for part in squares.chunks((BATCH / views).max(1)) {
        let turned: Vec<Vec<f32>> =
            part.iter().flat_map(|square| (0..views).map(|i| view(square, size, views, i))).collect();
        for rows in logits(&turned)?.chunks(views) {
            let heads = rows.first().map_or(0, Vec::len);
            let mean = |h: usize| rows.iter().map(|row| row[h]).sum::<f32>() / rows.len() as f32;
            means.push((0..heads).map(mean).collect());
        }
    }
    Ok(means)
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
    use crate::preprocess::VIEWS;

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
