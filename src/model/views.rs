//! Judging an image in several orientations. A network is not indifferent to how an image is turned; the mean over all turns is.

use super::ModelError;
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
