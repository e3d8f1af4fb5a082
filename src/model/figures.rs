//! The figures of a model card as Markdown. They are read as JSON, so that a card of another version still prints what it has.

use serde_json::Value;

/// All that `metrics` holds of what is known here; nothing where it holds none.
pub fn markdown(metrics: &Value) -> String {
    let Some(regions) = metrics.get("regions").and_then(Value::as_object) else { return String::new() };
    let mut text = String::from(
        "\n## Metrics on validation\n\nIn brackets: 95 % intervals over groups.\n\n\
         | region | images (groups) | ROC AUC | sensitivity | specificity | calibration error |\n|---|---|---|---|---|---|\n",
    );
    for (name, region) in regions {
        text += &format!(
            "| {name} | {} ({}) | {} | {} | {} | {} |\n",
            count(region, "positives"),
            count(region, "positive_groups"),
            between(region, "auc"),
            between(region, "sensitivity"),
            between(region, "specificity"),
            number(region.get("ece")),
        );
    }
    text += &format!("\nMean AUC {}.\n", number(metrics.get("mean_auc")));
    for (key, what) in [
        ("outside", "Radiographs of other regions"),
        ("neighbours", "Radiographs of neighbouring regions, counted apart"),
        ("no_radiograph", "Images that are no radiographs"),
    ] {
        let Some(part) = metrics.get(key) else { continue };
        let next = match part.get("called_next").and_then(Value::as_u64) {
            Some(next) if next > 0 => format!(", {next} of them the one next to it"),
            _ => String::new(),
        };
        let (called, images) = (count(part, "called_a_region"), count(part, "images"));
        text +=
            &format!("\n{what}: {called} of {images} called one of the five{next}; rate {}.\n", between(part, "rate"));
    }
    if let Some(thresholds) = metrics.get("thresholds") {
        text += &rest_on(thresholds);
    }
    if let Some(cross) = metrics.get("cross_fitted") {
        text += &cross_fitted(cross);
    }
    if let Some(robust) = metrics.get("robust").and_then(Value::as_object) {
        text += "\n### The same image, changed\n\n| changed | images | named the same | same verdict | no longer named rightly | newly named wrongly |\n|---|---|---|---|---|---|\n";
        for (name, row) in robust {
            let of = |key| count(row, key);
            text += &format!(
                "| {name} | {} | {} | {} | {} | {} |\n",
                of("images"),
                of("same"),
                of("same_verdict"),
                of("lost"),
                of("wrong")
            );
        }
    }
    text
}

/// What the thresholds were chosen for, what that gave, and what so many images can show.
fn rest_on(thresholds: &Value) -> String {
    let percent = |key: &str| thresholds.get(key).and_then(Value::as_f64).map_or("–".into(), percent);
    let range = |key: &str| match bounds(thresholds, key) {
        Some((low, high)) => format!(" ({}–{})", self::percent(low), self::percent(high)),
        None => String::new(),
    };
    let met = thresholds.get("met").and_then(Value::as_bool) == Some(true);
    format!(
        "\n### Thresholds\n\nChosen for false corrections of at most {} of outside radiographs (neighbours not among them), and above what any image that is \
         no radiograph claimed. Modelled rate: {}{}{}. It rests on {} images in {} groups, with {} changed copies each; counting them alone gives {} \
         called a region{}, and cannot show a rate below the upper figure. Of the regions' own images and copies {} are named.\n",
        percent("target"),
        percent("expected"),
        range("expected_95"),
        if met {
            ""
        } else {
            ": the target is not met; thresholds that keep to it would leave too few of the regions' images named, or lie where such data tell nothing"
        },
        count(thresholds, "outside"),
        count(thresholds, "groups"),
        count(thresholds, "copies"),
        count(thresholds, "counted"),
        range("counted_95"),
        percent("recall"),
    )
}

fn cross_fitted(cross: &Value) -> String {
    let of = |pair: Option<&Value>| {
        let at = |i| pair.and_then(|p| p.get(i)).and_then(Value::as_u64).unwrap_or(0);
        format!("{} of {}", at(1), at(0))
    };
    let regions = cross.get("regions").and_then(Value::as_object).into_iter().flatten();
    let regions: Vec<String> = regions.map(|(name, pair)| format!("{name} {}", of(Some(pair)))).collect();
    format!(
        "\nWith calibration and thresholds that the image had no part in: rightly named {}; called another of the five {}; called a \
         region: outside {}, neighbours {}, no radiographs {}.\n",
        regions.join(", "),
        count(cross, "another"),
        of(cross.get("outside")),
        of(cross.get("neighbours")),
        of(cross.get("no_radiograph")),
    )
}

fn count(of: &Value, key: &str) -> u64 {
    of.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn number(value: Option<&Value>) -> String {
    value.and_then(Value::as_f64).map_or("–".into(), |v| format!("{v:.3}"))
}

fn percent(part: f64) -> String {
    format!("{:.2} %", 100.0 * part)
}

fn bounds(of: &Value, key: &str) -> Option<(f64, f64)> {
    let interval = of.get(key)?;
    Some((interval.get("low")?.as_f64()?, interval.get("high")?.as_f64()?))
}

/// A figure, and its interval where there is one.
fn between(of: &Value, key: &str) -> String {
    let value = number(of.get(key));
    match bounds(of, &format!("{key}_95")) {
        Some((low, high)) => format!("{value} ({low:.2}–{high:.2})"),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_figures_there_is_no_text() {
        assert_eq!(markdown(&Value::Null), "");
        // A card of an older version.
        let text = markdown(&serde_json::json!({"regions": {"HAND": {"positives": 3, "auc": 0.5}}}));
        assert!(text.contains("| HAND | 3 (0) | 0.500 | – |"), "{text}");
    }
}
