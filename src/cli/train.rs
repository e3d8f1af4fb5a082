//! `radroute train`: makes weights and their card from a manifest of images.

use super::exit;
use crate::config::DeviceChoice;
use crate::model::device;
use crate::train::manifest::Manifest;
use crate::train::recipe::Recipe;
use crate::train::{Progress, Run, TrainError, run as train};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `radroute train`.
#[derive(clap::Args)]
pub struct Args {
    /// Table of images: path, region, group, source, licence, split, parted by tabs
    #[arg(long, value_name = "F", required_unless_present = "root")]
    manifest: Option<PathBuf>,
    /// Folder that the manifest's paths are relative to (default: where it lies); without a manifest: a folder of folders
    /// named by region
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Initial weights: a ResNet-18 in safetensors under torchvision's names
    #[arg(long, value_name = "F")]
    init: PathBuf,
    /// Where weights, card and recipe go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Recipe in TOML; default: as stored with the shipped weights, for all heads
    #[arg(long, value_name = "F")]
    recipe: Option<PathBuf>,
    /// Passes over the augmented images, instead of the recipe's
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Where the steps are computed
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,
    /// Seed, instead of the recipe's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Runs the command.
pub fn run(args: Args, _config: PathBuf) -> ExitCode {
    match prepared(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("radroute train: {error}");
            ExitCode::from(match error {
                TrainError::Write { .. } => exit::IOERR,
                TrainError::Recipe(_) => exit::CONFIG,
                TrainError::Candle(_) | TrainError::Features(_) => exit::SOFTWARE,
                _ => exit::DATAERR,
            })
        }
    }
}

fn prepared(args: &Args) -> Result<(), TrainError> {
    let mut recipe = match &args.recipe {
        Some(file) => {
            let text =
                std::fs::read_to_string(file).map_err(|e| TrainError::Recipe(format!("{}: {e}", file.display())))?;
            Recipe::parse(&text).map_err(|e| TrainError::Recipe(format!("{}: {e}", file.display())))?
        }
        None => Recipe::default(),
    };
    recipe.epochs = args.epochs.unwrap_or(recipe.epochs).max(1);
    recipe.seed = args.seed.unwrap_or(recipe.seed);
    let manifest = match (&args.manifest, &args.root) {
        (None, root) => Manifest::from_folders(root.as_deref().unwrap_or(Path::new(".")))?,
        (Some(file), Some(root)) => Manifest::read(file, root)?,
        (Some(file), None) => Manifest::read(file, file.parent().unwrap_or(Path::new(".")))?,
    };
    let progress = Progress::default();
    let device = device(args.device)?;
    let (init, out) = (&args.init, &args.out);
    let report = train(&Run { recipe: &recipe, manifest: &manifest, init, out, device, progress: &progress })?;
    let mean = report.mean_auc.unwrap_or(0.0);
    progress.tell(&format!("weights and card are in {}; mean AUC of the regions {mean:.4}", args.out.display()));
    Ok(())
}
