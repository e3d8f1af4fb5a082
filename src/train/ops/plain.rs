//! The same operations made of candle's own, which know their gradients on every device: slower on a CPU, right on a GPU.

use super::Moments;
use candle_core::{Result, Tensor};

/// The maps moved by each tap of a `kernel`×`kernel` window with "same" padding and every `stride`-th pixel kept:
/// `kernel * kernel` tensors `[images, height', width', channels]`.
fn taps(x: &Tensor, kernel: usize, stride: usize) -> Result<Vec<Tensor>> {
    let (images, height, width, channels) = x.dims4()?;
    let pad = kernel / 2;
    let result = |n: usize| (n + 2 * pad - kernel) / stride + 1;
    let (down, across) = (result(height), result(width));
    // So far that every tap can be cut into whole strides.
    let (more_down, more_across) = (down * stride + kernel, across * stride + kernel);
    let padded =
        x.pad_with_zeros(1, pad, more_down - height - pad)?.pad_with_zeros(2, pad, more_across - width - pad)?;
    let mut all = Vec::with_capacity(kernel * kernel);
    for tap in 0..kernel * kernel {
        let cut = padded.narrow(1, tap / kernel, down * stride)?.narrow(2, tap % kernel, across * stride)?;
        let cut = cut.contiguous()?.reshape((images, down, stride, across, stride, channels))?;
        all.push(cut.narrow(2, 0, 1)?.narrow(4, 0, 1)?.contiguous()?.reshape((images, down, across, channels))?);
    }
    Ok(all)
}

/// `[images, height, width, channels]` → `[images * height' * width', kernel * kernel * channels]`, as [`super::Patches`].
pub fn patches(x: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    let all = Tensor::cat(&taps(x, kernel, stride)?, 3)?;
    let (images, down, across, depth) = all.dims4()?;
    all.reshape((images * down * across, depth))
}

/// 3×3 with stride 2 and padding 1, of values that are not negative, as [`super::MaxPool`].
pub fn max_pool(x: &Tensor) -> Result<Tensor> {
    Tensor::stack(&taps(x, 3, 2)?, 0)?.max(0)
}

/// Batch norm of `[rows, channels]` by the batch's own moments, as [`super::BatchNorm`]; and those moments.
pub fn batch_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f32) -> Result<(Tensor, Moments)> {
    let mean = x.mean_keepdim(0)?;
    let centred = x.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim(0)?;
    let moments = Moments { mean: mean.flatten_all()?.to_vec1()?, variance: variance.flatten_all()?.to_vec1()? };
    let y = centred.broadcast_div(&(variance + f64::from(epsilon))?.sqrt()?)?;
    Ok((y.broadcast_mul(weight)?.broadcast_add(bias)?, moments))
}

#[cfg(test)]
mod tests {
    use super::super::{MaxPool, Patches, wave};
    use super::*;
    use candle_core::{Device, Var};

    fn difference(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).and_then(|d| d.abs()?.max_all()?.to_scalar()).unwrap()
    }

    #[test]
    fn patches_and_pool_are_those_of_the_cpu_and_so_are_their_gradients() -> Result<()> {
        for (height, width, kernel, stride) in [(6, 8, 3, 1), (8, 6, 3, 2), (7, 5, 3, 2), (8, 8, 1, 2), (9, 8, 7, 2)] {
            let (images, channels) = (2, 3);
            let values = wave(images * height * width * channels, 0.7).into_iter().map(f32::abs).collect();
            let x = Tensor::from_vec(values, (images, height, width, channels), &Device::Cpu)?;
            let x = Var::from_tensor(&x)?;
            let ours = x.apply_op1(Patches { images, height, width, channels, kernel, stride })?;
            let plain = patches(&x, kernel, stride)?;
            assert_eq!(difference(&ours, &plain), 0.0, "{height} {width} {kernel} {stride}");
            let (pool, plain_pool) = (x.apply_op1(MaxPool { images, height, width, channels })?, max_pool(&x)?);
            assert_eq!(difference(&pool, &plain_pool), 0.0);
            for (a, b) in [(&ours, &plain), (&pool, &plain_pool)] {
                let (a, b) = (a.sqr()?.sum_all()?.backward()?, b.sqr()?.sum_all()?.backward()?);
                let (Some(a), Some(b)) = (a.get(&x), b.get(&x)) else { panic!("no gradient") };
                assert!(difference(a, b) < 1e-4);
            }
        }
        Ok(())
    }
}
