//! Where a run stands, in one file: tensors in full precision, and the rest as JSON in the file's header.
//!
//! A safetensors file, written beside and renamed, so that a kill leaves either the old one or the new one. It belongs to one run: a
//! hash over all that the result depends on says which.

use super::TrainError;
use super::write::replace;
use crate::model::weights::Raw;
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Where a run stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint<S> {
    /// What the run's result depends on, as a hash.
    pub run: String,
    /// Position, figures so far.
    pub state: S,
    /// The trained tensors, their running statistics, and what the optimiser remembers.
    pub tensors: BTreeMap<String, Raw>,
}

/// Keys of the header.
const RUN: &str = "run";
const STATE: &str = "state";

impl<S: Serialize + DeserializeOwned> Checkpoint<S> {
    /// Writes it whole or not at all.
    pub fn write(&self, file: &Path) -> Result<(), TrainError> {
        let state = serde_json::to_string(&self.state).map_err(|e| TrainError::Data(e.to_string()))?;
        let header = HashMap::from([(RUN.to_owned(), self.run.clone()), (STATE.to_owned(), state)]);
        let mut tensors = BTreeMap::new();
        for (name, raw) in &self.tensors {
            tensors.insert(name.clone(), Tensor::from_vec(raw.data.clone(), &raw.shape[..], &Device::Cpu)?);
        }
        let bytes = safetensors::serialize(tensors, Some(header)).map_err(|e| TrainError::Data(e.to_string()))?;
        replace(file, &bytes)
    }

    /// The checkpoint in `file`; `None` where there is none, or where it is another run's or cannot be used: `tell` is given a line
    /// that says so, and the run begins anew.
    pub fn read(file: &Path, run: &str, tell: impl Fn(&str)) -> Option<Checkpoint<S>> {
        let bytes = match std::fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tell(&format!("{}: cannot be read ({error}); the run begins anew", file.display()));
                return None;
            }
        };
        match parse::<S>(&bytes) {
            Ok(found) if found.run == run => Some(found),
            Ok(_) => {
                tell(&format!(
                    "{}: is the checkpoint of another run (recipe, images or initial weights differ); the run begins anew",
                    file.display()
                ));
                None
            }
            Err(why) => {
                tell(&format!("{}: is no checkpoint of this version ({why}); the run begins anew", file.display()));
                None
            }
        }
    }
}

fn parse<S: DeserializeOwned>(bytes: &[u8]) -> Result<Checkpoint<S>, String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let words = header.metadata().clone().unwrap_or_default();
    let word = |key: &str| words.get(key).ok_or(format!("no {key} in its header"));
    let state = serde_json::from_str(word(STATE)?).map_err(|e| e.to_string())?;
    let mut tensors = BTreeMap::new();
    for (name, tensor) in candle_core::safetensors::load_buffer(bytes, &Device::Cpu).map_err(|e| e.to_string())? {
        let data = tensor.flatten_all().and_then(|t| t.to_vec1()).map_err(|e| format!("{name}: {e}"))?;
        tensors.insert(name, Raw { shape: tensor.dims().to_vec(), data });
    }
    Ok(Checkpoint { run: word(RUN)?.clone(), state, tensors })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn checkpoint() -> Checkpoint<(usize, f64)> {
        let odd = vec![1.0f32 / 3.0, f32::MIN_POSITIVE / 8.0, -0.0];
        let tensors = BTreeMap::from([
            ("layer4.1.conv1.weight".to_owned(), Raw { shape: vec![1, 3], data: odd.clone() }),
            ("step".to_owned(), Raw { shape: vec![3], data: odd }),
        ]);
        Checkpoint { run: "abc".into(), state: (17, 0.1 + 0.2), tensors }
    }

    #[test]
    fn comes_back_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w.checkpoint");
        let silent = |line: &str| panic!("{line}");
        assert!(Checkpoint::<(usize, f64)>::read(&file, "abc", silent).is_none());
        checkpoint().write(&file).unwrap();
        checkpoint().write(&file).unwrap();
        let again = Checkpoint::read(&file, "abc", silent).unwrap();
        assert_eq!(again, checkpoint());
        assert!(again.tensors["step"].data[2].is_sign_negative());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_runs_or_a_damaged_one_is_told_and_left() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w.checkpoint");
        checkpoint().write(&file).unwrap();
        let told = RefCell::new(Vec::new());
        let read = |run: &str| Checkpoint::<(usize, f64)>::read(&file, run, |l| told.borrow_mut().push(l.to_owned()));
        assert!(read("abd").is_none());
        assert!(told.borrow()[0].contains("another run") && told.borrow()[0].contains("w.checkpoint"));
        let bytes = std::fs::read(&file).unwrap();
        for length in [0, 9, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&file, &bytes[..length]).unwrap();
            assert!(read("abc").is_none(), "{length}");
        }
        assert_eq!(told.borrow().len(), 5);
        std::fs::write(&file, bytes).unwrap();
        assert!(Checkpoint::<Vec<String>>::read(&file, "abc", |l| told.borrow_mut().push(l.to_owned())).is_none());
        assert!(told.borrow()[5].contains("no checkpoint of this version"));
    }
}
