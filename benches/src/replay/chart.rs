//! The map of pinned regions: one cell per 2 MiB region, one block of rows per
//! subject, the darker the fuller.

use super::report::{Outcome, Report};
use svg::Document;
use svg::node::element::{Rectangle, Text, Title};

const CELL: usize = 7;
const COLUMNS: usize = 96;
const MARGIN: usize = 12;
const HEADING: usize = 22;

/// Draws what every subject left pinned at the end.
pub fn chart(report: &Report) -> Document {
    let width = 2 * MARGIN + COLUMNS * CELL;
    let mut top = MARGIN + HEADING;
    let mut document = Document::new();
    document = document.add(label(
        MARGIN,
        MARGIN + 4,
        &format!("{}: 2 MiB regions at the end", report.trace),
    ));
    for one in &report.allocators {
        let heading = format!(
            "{}: {} of {} pinned, {} would do",
            one.name,
            one.regions_pinned_end,
            one.regions.len(),
            one.regions_min_end
        );
        document = document.add(label(MARGIN, top + 12, &heading));
        top += HEADING;
        document = cells(document, one, top);
        top += one.regions.len().div_ceil(COLUMNS) * CELL + MARGIN;
    }
    document.set("viewBox", (0, 0, width, top)).set("width", width).set("height", top)
}

fn label(x: usize, y: usize, text: &str) -> Text {
    let text = Text::new(text).set("x", x).set("y", y);
    text.set("font-family", "sans-serif").set("font-size", 12)
}

fn cells(mut document: Document, one: &Outcome, top: usize) -> Document {
    for (at, live) in one.regions.iter().enumerate() {
        let (x, y) = (MARGIN + at % COLUMNS * CELL, top + at / COLUMNS * CELL);
        let cell = Rectangle::new()
            .set("x", x)
            .set("y", y)
            .set("width", CELL - 1)
            .set("height", CELL - 1)
            .set("fill", shade(u64::from(*live), one.region_granules))
            .add(Title::new(format!("region {at}: {live} of {} granules", one.region_granules)));
        document = document.add(cell);
    }
    document
}

/// White-grey if free, then from light to dark by how full it is.
fn shade(live: u64, of: u64) -> String {
    if live == 0 {
        return "#eeeeee".to_owned();
    }
    let light = 210 - (live.min(of) * 190 / of.max(1));
    format!("rgb({},{},{})", light, light / 2 + 40, 120)
}
