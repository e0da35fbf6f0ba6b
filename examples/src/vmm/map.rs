//! The map: what every stretch of the resource is used for.
//!
//! Each part of the resource is cut into cells of equal size. A cell shows what
//! most of its granules are, but for a failed one, which always shows.

use super::history::History;
use super::kinds::Sort;
use super::world::World;
use potad::memdesc::Block;
use svg::Document;
use svg::node::element::{Group, Rectangle, Text, Title};

/// Cells of the whole map, about, and in one row.
const CELLS: u64 = 8192;
const ROW: usize = 128;
/// Pixels of a cell.
const CELL: usize = 7;
const LEFT: usize = 16;

/// What a cell can be, by index: the sorts, then these.
const FREE: usize = Sort::ALL.len();
const RETURNED: usize = FREE + 1;
const FAILED: usize = FREE + 2;
const OTHER: usize = FREE + 3;
const CLASSES: usize = FREE + 4;

/// Names and colours.
const LEGEND: [(&str, &str); CLASSES] = [
    ("Folio", "#4e79a7"),
    ("Slab", "#f28e2b"),
    ("Buffer", "#76b7b2"),
    ("Huge", "#59a14f"),
    ("raw", "#b07aa1"),
    ("free", "#e6e6e6"),
    ("free, memory returned", "#ffffff"),
    ("quarantined", "#d62728"),
    ("not plugged, or nobody's", "#8c8c8c"),
];

/// A stretch of addresses.
#[derive(Clone, Debug)]
struct Part {
    name: &'static str,
    first: u64,
    bytes: u64,
    cells: Vec<usize>,
}

/// The map of a resource at one moment, and its memory over time.
#[derive(Clone, Debug)]
pub struct Map {
    parts: Vec<Part>,
    cell_bytes: u64,
    hole: u64,
    history: History,
    /// Seconds of it until the guests were through.
    replayed: f64,
    title: String,
}

impl Map {
    /// The world as it is now. Whoever allocates meanwhile may show twice.
    pub(super) fn of(world: &World, title: &str) -> Self {
        let host = &world.host;
        let granule = world.plan.granule;
        let bytes: u64 = host.ram.parts().iter().map(|part| part.bytes).sum();
        let cell_bytes = (bytes / CELLS).next_power_of_two().max(granule);
        let names = ["low span", "high span", "hot-added"];
        let mut parts = Vec::new();
        let free = host.zone.free_blocks();
        let failed = host.zone.poisoned();
        for (name, part) in names.into_iter().zip(host.ram.parts()) {
            let cells = part.bytes.div_ceil(cell_bytes) as usize;
            let mut count =
                Count { first: part.first, cell_bytes, cells: vec![[0; CLASSES]; cells] };
            for slot in &world.slots {
                if let Some(held) = slot.held.lock().as_ref() {
                    let (first, bytes) = world.range(held.lent.place());
                    count.add(held.lent.sort() as usize - 1, first, bytes);
                }
            }
            for block in &free {
                count.add_free(world, *block);
            }
            for (at, _) in &failed {
                count.add(FAILED, host.zone.address_of(*at), granule);
            }
            let cells = count.cells.iter().map(class_of).collect();
            parts.push(Part { name, first: part.first, bytes: part.bytes, cells });
        }
        let [low, high, _] = host.ram.parts();
        let hole = high.first - (low.first + low.bytes);
        let history = History::default();
        Self { parts, cell_bytes, hole, history, replayed: 0.0, title: title.to_owned() }
    }

    /// Adds the memory over time, and when the guests were through.
    pub(super) fn set_history(&mut self, history: History, replayed: f64) {
        (self.history, self.replayed) = (history, replayed);
    }

    /// The memory over time.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// The picture.
    pub fn svg(&self) -> String {
        let width = LEFT * 2 + ROW * CELL;
        let mut document = Document::new();
        let mut y = 24;
        document = document.add(text(LEFT, y, &self.title));
        y += 12;
        document = document.add(legend(y));
        y += 28;
        for (index, part) in self.parts.iter().enumerate() {
            if index == 1 {
                let hole = format!("hole of {} KiB: no memory, never used", self.hole >> 10);
                document = document.add(hatched(y, &hole));
                y += 26;
            }
            let (group, below) = part.draw(y, self.cell_bytes);
            document = document.add(group);
            y = below + 8;
        }
        let width_of_row = (ROW * CELL) as f64;
        let (group, below) = self.history.draw(LEFT as f64, y as f64, width_of_row, self.replayed);
        document = document.add(group);
        document.set("viewBox", (0, 0, width, below)).set("font-family", "sans-serif").to_string()
    }
}

impl Part {
    fn draw(&self, top: usize, cell_bytes: u64) -> (Group, usize) {
        let name = format!(
            "{} {:#x}, {} MiB, {} KiB a cell",
            self.name,
            self.first,
            self.bytes >> 20,
            cell_bytes >> 10
        );
        let mut group = Group::new().add(text(LEFT, top + 14, &name));
        let top = top + 20;
        for (row, cells) in self.cells.chunks(ROW).enumerate() {
            // Adjacent cells of one class are one rectangle.
            let mut column = 0;
            for run in cells.chunk_by(|one, other| one == other) {
                let (name, colour) = LEGEND[run[0]];
                let cell =
                    rectangle(LEFT + column * CELL, top + row * CELL, run.len() * CELL, CELL);
                group = group.add(cell.set("fill", colour).add(Title::new(name)));
                column += run.len();
            }
        }
        (group, top + self.cells.len().div_ceil(ROW) * CELL)
    }
}

fn legend(top: usize) -> Group {
    let mut group = Group::new();
    let mut x = LEFT;
    for (name, colour) in LEGEND {
        let key = rectangle(x, top, 10, 10).set("fill", colour).set("stroke", "#999");
        group = group.add(key).add(text(x + 14, top + 9, name));
        x += 26 + name.len() * 7;
    }
    group
}

fn hatched(top: usize, name: &str) -> Group {
    let bar = rectangle(LEFT, top + 2, ROW * CELL, 18).set("fill", "none");
    let bar = bar.set("stroke", "#999").set("stroke-dasharray", "4 4");
    Group::new().add(bar).add(text(LEFT + 6, top + 15, name))
}

fn rectangle(x: usize, y: usize, width: usize, height: usize) -> Rectangle {
    Rectangle::new().set("x", x).set("y", y).set("width", width).set("height", height)
}

fn text(x: usize, y: usize, content: &str) -> Text {
    Text::new(content).set("x", x).set("y", y).set("font-size", 12)
}

/// Bytes of each class, per cell of one part.
struct Count {
    first: u64,
    cell_bytes: u64,
    cells: Vec<[u64; CLASSES]>,
}

impl Count {
    /// Adds the bytes of a range that lie in the part.
    fn add(&mut self, class: usize, first: u64, bytes: u64) {
        let end = self.first + self.cells.len() as u64 * self.cell_bytes;
        let (mut at, to) = (first.max(self.first), (first + bytes).min(end));
        while at < to {
            let cell = (at - self.first) / self.cell_bytes;
            let next = (self.first + (cell + 1) * self.cell_bytes).min(to);
            self.cells[cell as usize][class] += next - at;
            at = next;
        }
    }

    /// A free block, cell by cell: returned or not.
    fn add_free(&mut self, world: &World, block: Block) {
        let (first, bytes) = world.range(block);
        let step = self.cell_bytes.min(bytes);
        for at in (first..first + bytes).step_by(step as usize) {
            let class = if world.host.returned.has(at, step) { RETURNED } else { FREE };
            self.add(class, at, step);
        }
    }
}

fn class_of(bytes: &[u64; CLASSES]) -> usize {
    if bytes[FAILED] > 0 {
        return FAILED;
    }
    let most = bytes.iter().enumerate().max_by_key(|(_, bytes)| **bytes);
    most.filter(|(_, bytes)| **bytes > 0).map_or(OTHER, |(class, _)| class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_shows_what_most_of_it_is_and_failures_always() {
        let mut count = Count { first: 100, cell_bytes: 10, cells: vec![[0; CLASSES]; 3] };
        count.add(0, 0, 118);
        count.add(FREE, 118, 1000);
        assert_eq!(count.cells.iter().map(class_of).collect::<Vec<_>>(), [0, 0, FREE]);
        count.add(FAILED, 125, 1);
        assert_eq!(class_of(&count.cells[2]), FAILED);
        assert_eq!(class_of(&[0; CLASSES]), OTHER);
    }

    #[test]
    fn the_picture_is_drawn() {
        let part = Part { name: "low span", first: 0, bytes: 4096, cells: vec![0, 0, FREE] };
        let map = Map {
            parts: vec![part],
            cell_bytes: 1024,
            hole: 4096,
            history: super::super::history::tests::sample(),
            replayed: 9.0,
            title: "test".to_owned(),
        };
        let svg = map.svg();
        assert!(svg.starts_with("<svg") && svg.contains("polyline") && svg.contains("#4e79a7"));
        assert!(!svg.contains("NaN"));
    }
}
