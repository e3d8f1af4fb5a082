//! Class activation maps: where in the image a head's evidence lies. Pure.
//!
//! ResNet ends in a global average pool and one linear layer. Both are sums, so they may change places: weighting the last
//! feature maps by a head's row gives a map whose mean, plus the head's bias, is the head's logit (Zhou et al., "Learning
//! Deep Features for Discriminative Localization", CVPR 2016).

use super::ModelError;
use super::engine::Maps;
use candle_core::{Device, Tensor};

/// What one head finds at each place of the network's square.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationMap {
    /// Cells along each side: the side of the input by 32, rounded up; 7 for 224 pixels.
    pub side: usize,
    /// Row-major evidence, in units of the logit: above 0 speaks for the head, below against it.
    pub values: Vec<f32>,
    /// The head's bias: what it says before it has seen anything.
    pub bias: f32,
}

impl ActivationMap {
    /// The logit that the map explains: its mean and the bias.
    pub fn logit(&self) -> f32 {
        self.values.iter().sum::<f32>() / self.values.len().max(1) as f32 + self.bias
    }

    /// Column and row of the strongest evidence.
    pub fn peak(&self) -> (usize, usize) {
        let best = self.values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i);
        (best % self.side.max(1), best / self.side.max(1))
    }
}

/// The maps of each image, one a head in the heads' order, from the last feature maps (square), `head_weight`
/// `[channels, heads]` and one bias a head.
///
/// # Errors
/// The shapes do not fit each other.
pub fn activation_maps(
    maps: &Maps,
    head_weight: &Tensor,
    head_bias: &[f32],
) -> Result<Vec<Vec<ActivationMap>>, ModelError> {
    let places = maps.images * maps.height * maps.width;
    let features = Tensor::from_slice(&maps.data, (places, maps.channels), &Device::Cpu)?;
    Ok(by_head(&features.matmul(head_weight)?.to_vec2()?, maps.height, head_bias))
}

/// Rows of evidence, one a place with a value a head, image after image → maps.
pub(super) fn by_head(rows: &[Vec<f32>], side: usize, head_bias: &[f32]) -> Vec<Vec<ActivationMap>> {
    let of = |image: &[Vec<f32>], head: usize, bias: f32| ActivationMap {
        side,
        values: image.iter().map(|row| row[head]).collect(),
        bias,
    };
    rows.chunks_exact((side * side).max(1))
        .map(|image| head_bias.iter().enumerate().map(|(head, &bias)| of(image, head, bias)).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_weighted_sums_of_the_features_by_head() {
        let data = vec![1.0, 0.0, 0.0, 2.0, 3.0, 1.0, 0.0, 0.0];
        let maps = Maps { images: 1, height: 2, width: 2, channels: 2, data };
        let weight = Tensor::new(&[[1.0f32, -1.0, 0.5], [10.0, 0.0, 0.5]], &Device::Cpu).unwrap();
        let found = activation_maps(&maps, &weight, &[0.5, 0.0, -1.0]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0][0].values, [1.0, 20.0, 13.0, 0.0]);
        assert_eq!(found[0][1].values, [-1.0, 0.0, -3.0, 0.0]);
        assert_eq!(found[0][2].values, [0.5, 1.0, 2.0, 0.0]);
        assert_eq!(found[0][0].peak(), (1, 0));
        assert_eq!(found[0][2].peak(), (0, 1));
        assert_eq!(found[0][0].logit(), 34.0 / 4.0 + 0.5);
    }

    #[test]
    fn weights_of_other_channels_are_an_error() {
        let maps = Maps { images: 1, height: 1, width: 1, channels: 2, data: vec![1.0, 2.0] };
        let weight = Tensor::new(&[[1.0f32], [1.0], [1.0]], &Device::Cpu).unwrap();
        assert!(activation_maps(&maps, &weight, &[0.0]).is_err());
    }
}
