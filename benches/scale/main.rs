//! Cost as the ledger grows: fills a ledger with a past of so many rows and measures, at each size, what the daemon and
//! `radroute audit` ask of it. Prints a table of all sizes so far and draws the curve.
//!
//! ```text
//! cargo bench --bench scale                                        0.1 and 0.5 million rows
//! cargo bench --bench scale -- --rows 1,10,50 --folder /data/tmp   some 30 GB there, half an hour
//! ```

mod measure;
mod show;
#[path = "../support/mod.rs"]
mod support;

use clap::Parser;
use measure::Point;
use radroute::ledger::FILE;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use support::archive::{self, Failure, Template};

#[derive(Parser)]
struct Args {
    /// Sizes, in millions of rows of all tables together, rising
    #[arg(long, value_delimiter = ',', default_values_t = [0.1, 0.5])]
    rows: Vec<f64>,
    /// Where the ledger is made; it stays there, and a later run goes on with it
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Fill only
    #[arg(long)]
    fill_only: bool,
    /// Where the curve is drawn (SVG)
    #[arg(long)]
    plot: Option<PathBuf>,
    /// cargo bench says so
    #[arg(long, hide = true)]
    bench: bool,
}

/// What has been done in a folder.
#[derive(Serialize, Deserialize)]
struct Progress {
    /// Time of the past, milliseconds.
    at: i64,
    /// Studies of the past.
    studies: u64,
    /// Instances entered by measuring.
    measured: u64,
    points: Vec<Point>,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    support::run(args.folder.clone().as_deref(), |folder| grow(args, folder))
}

async fn grow(args: Args, folder: PathBuf) -> Result<(), Failure> {
    let (ledger, notes) = (folder.join(FILE), folder.join("scale.json"));
    // The first study alone, to copy from.
    let template = folder.join("template.sqlite");
    let mut progress: Progress = match std::fs::read(&notes) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(_) => {
            let at = radroute::ledger::now();
            archive::first(&template, at, false).await?;
            std::fs::copy(&template, &ledger)?;
            Progress { at, studies: 1, measured: 0, points: Vec::new() }
        }
    };
    let template = Template::read(&template, progress.at)?;
    for millions in &args.rows {
        let wanted = (millions * 1e6) as u64 / template.rows();
        if wanted > progress.studies {
            eprintln!("filling to {millions} million rows: {wanted} studies");
            template.copy(&ledger, progress.studies..wanted)?;
            progress.studies = wanted;
            std::fs::write(&notes, serde_json::to_vec(&progress)?)?;
        }
        if args.fill_only {
            continue;
        }
        eprintln!("measuring at {millions} million rows");
        let point = measure::point(&ledger, progress.studies, &mut progress.measured).await?;
        progress.points.retain(|p| p.studies != point.studies);
        progress.points.push(point);
        std::fs::write(&notes, serde_json::to_vec(&progress)?)?;
    }
    if !progress.points.is_empty() {
        println!("{}", show::table(&progress.points));
        if let Some(file) = &args.plot {
            show::plot(&progress.points, file)?;
        }
    }
    Ok(())
}
