//! The operations that training needs beyond candle's: patches of feature maps, batch norm over a batch and max pooling, each with
//! a backward pass, threaded, on the CPU; and the same in candle's own operations ([`plain`]), which run on any device.

mod norm;
mod patches;
pub mod plain;
mod pool;

pub use norm::{BatchNorm, Moments};
pub use patches::Patches;
pub use pool::MaxPool;

use candle_core::{CpuStorage, Error, Layout, Result, Storage, Tensor};

/// The values of a contiguous tensor on the CPU.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) = layout.contiguous_offsets().ok_or(Error::RequiresContiguous { op: "radroute" }.bt())?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Calls `f` with the values of a tensor.
fn with_values<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(slice(storage, layout)?)),
        _ => Err(Error::Msg("this operation runs on the CPU only".into())),
    }
}

#[cfg(test)]
fn wave(n: usize, step: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * step).sin()).collect()
}
