//! `radroute evaluate --groups`: the groups of each split and their hashes, and whether anything is in two splits.

use super::Args;
use crate::cli::exit;
use crate::model::card::Card;
use crate::train::TrainError;
use crate::train::listing::{Listing, differences, listing};
use crate::train::manifest::Manifest;
use std::io::Write;
use std::process::ExitCode;

/// Lists, and fails where an image is in two splits or the card's splits are others.
pub fn run(args: &Args, manifest: &Manifest) -> Result<ExitCode, TrainError> {
    let card = args.against.as_deref().map(Card::read).transpose()?;
    let listing = listing(manifest)?;
    let told = card.map(|card| differences(&listing, &card.data.groups_sha256));
    let right = listing.doubles.is_empty() && told.as_ref().is_none_or(Vec::is_empty);
    let text = if args.json {
        format!("{}\n", serde_json::json!({"splits": listing.splits, "doubles": listing.doubles, "against": told}))
    } else {
        text(&listing, told.as_deref())
    };
    // A reader that has gone away wants no more.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::from(exit::DATAERR) })
}

/// One line for each group: split, group, images, SHA-256, parted by tabs; then the sums.
fn text(listing: &Listing, told: Option<&[String]>) -> String {
    let mut text = String::new();
    for (name, part) in &listing.splits {
        for (group, of) in &part.groups {
            text += &format!("{name}\t{group}\t{}\t{}\n", of.images, of.sha256);
        }
    }
    text += "\n";
    for (name, part) in &listing.splits {
        let (images, groups) = (part.images, part.groups.len());
        text += &format!("{name}: {images} images in {groups} groups, SHA-256 of the groups {}\n", part.groups_sha256);
    }
    text += "no group is in two splits\n";
    for double in &listing.doubles {
        let places: Vec<String> = double.places.iter().map(|(split, path)| format!("{path} ({split})")).collect();
        text += &format!("the same image is in two splits: {}\n", places.join(", "));
    }
    if listing.doubles.is_empty() {
        text += "no image is in two splits\n";
    }
    match told {
        Some([]) => text += "the splits are those of the card\n",
        Some(told) => text += &told.iter().map(|t| format!("{t}\n")).collect::<String>(),
        None => {}
    }
    text
}
