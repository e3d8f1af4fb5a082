//! Figures as text, for the terminal and the page. Pure.

use crate::judge::interval::Interval;
use crate::judge::robust::{Change, Robust};

/// Three decimals, or a dash.
pub fn number(v: Option<f64>) -> String {
    v.map_or("–".to_owned(), |v| format!("{v:.3}"))
}

/// With its interval, such as `0.980 (0.91–1.00)`.
pub fn between(v: Option<f64>, interval: Option<Interval>) -> String {
    interval.map_or(number(v), |i| format!("{} ({:.2}–{:.2})", number(v), i.low, i.high))
}

/// Two decimals of a percentage.
pub fn percent(v: f64) -> String {
    format!("{:.2} %", 100.0 * v)
}

/// An interval of percentages in brackets, with a space before; nothing where there is none.
pub fn range(interval: Option<Interval>) -> String {
    interval.map_or(String::new(), |i| format!(" ({}–{})", percent(i.low), percent(i.high)))
}

/// The rows of the table of changes, without its header.
pub fn changes(robust: &Robust) -> Vec<[String; 6]> {
    let rows = Change::ALL.iter().filter_map(|c| Some((c.name(), robust.get(c.name())?)));
    let cells = |(name, row): (&str, &crate::judge::robust::Outlasting)| {
        let part = |n: usize| format!("{n} ({:.1} %)", 100.0 * n as f64 / row.images.max(1) as f64);
        [
            name.to_owned(),
            row.images.to_string(),
            part(row.same),
            part(row.same_verdict),
            row.lost.to_string(),
            row.wrong.to_string(),
        ]
    };
    rows.map(cells).collect()
}
