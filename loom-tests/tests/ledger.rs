//! The ledger of seeds is honest: no loom here, only the sources.
//!
//! - Whatever a twin plants is a seed of the sources (else it would break
//!   nothing, and the twin would have failed; but a typing error in a name that
//!   is only listed would not be noticed).
//! - Whatever seed the sources have is planted by some twin, or by the step of a
//!   sanitizer in `.ci/run`.
//! - Whatever ordering the sources weaken is a row of the table of
//!   `docs/verification.md`, with what finds it.
//! - That document's table of pairs marks those that have a twin, those that share
//!   nothing, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 4] = ["memdesc", "lookup", "potad", "reporting"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            into.push((path, text));
        }
    }
}

/// The names that follow `call` in the sources of the crates.
fn names(call: &str) -> BTreeSet<String> {
    let mut files = Vec::new();
    CRATES.iter().for_each(|name| sources(&root().join(name).join("src"), &mut files));
    let mut names = BTreeSet::new();
    for (_, text) in &files {
        for after in text.split(call).skip(1) {
            let after = after.trim_start();
            if let Some(rest) = after.strip_prefix('"') {
                names.extend(rest.split('"').next().map(str::to_owned));
            }
        }
    }
    names
}

/// Every literal of the models and of the steps.
fn planted() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut files);
    files.retain(|(path, _)| !path.ends_with("ledger.rs"));
    let steps = fs::read_to_string(root().join(".ci/run")).expect("the steps");
    // A line at a time: the shell's quotes need not be even.
    let lines = files.iter().map(|(_, text)| text.as_str()).chain(steps.lines());
    lines.flat_map(|text| text.split('"').skip(1).step_by(2).map(str::to_owned)).collect()
}

/// The rows of the table: seed and what finds it.
fn table() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("docs/verification.md")).expect("the document");
    let section = text.split("\n## Orderings").nth(1).expect("its section");
    let section = section.split("\n## ").next().unwrap_or(section);
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let seed = cells.next()?.strip_suffix('`')?;
        let found = cells.nth(1)?;
        Some((seed.to_owned(), found.to_owned()))
    });
    rows.collect()
}

#[test]
fn every_seed_is_planted_and_in_the_table() {
    let (planted, table) = (planted(), table());
    let weakened = names("weakened!(");
    for seed in &weakened {
        let row = table.get(seed);
        let found = row.unwrap_or_else(|| panic!("\"{seed}\" is not in the table"));
        assert!(planted.contains(seed) && found != "-", "nothing finds \"{seed}\"");
    }
    for seed in &names("seeded!(") {
        assert!(planted.contains(seed), "no twin plants \"{seed}\"");
    }
    for seed in table.keys() {
        assert!(weakened.contains(seed), "\"{seed}\" is in the table and not in the sources");
    }
    assert!(weakened.len() > 50, "the sources were not read");
}

/// The operations of the pairs, in the order of the document.
const OPS: [&str; 18] = [
    "Alloc",
    "Free",
    "Claim",
    "Merge",
    "Flush",
    "Lookup",
    "Get",
    "Lock",
    "Publish",
    "Clear",
    "Replace",
    "Split",
    "Report",
    "PutBack",
    "HotAdd",
    "HotRemove",
    "Failure",
    "Unregister",
];

fn place_of(op: &str) -> usize {
    let end = op.find(|letter: char| !letter.is_alphabetic()).unwrap_or(op.len());
    OPS.iter().position(|&known| known == &op[..end]).expect("an operation of the pairs")
}

/// What `pairs/table.rs` says of each pair, earlier operation first: as the document
/// marks it.
fn marks_of_pairs() -> BTreeMap<(usize, usize), char> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pairs/table.rs");
    let text = fs::read_to_string(path).expect("the table of the pairs");
    let (mut twins, mut apart, mut bared) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for row in text.split("row(").skip(1) {
        let Some(row) = row.trim_start().strip_prefix("Op::") else { continue };
        let one = place_of(row);
        let mut lists =
            row.split("&[").skip(1).map(|list| &list[..list.find(']').expect("an end")]);
        let least = lists.next().expect("the least interleavings").split(',').map(str::trim);
        let least = least.filter(|least| !least.is_empty()).enumerate();
        apart.extend(least.filter(|(_, least)| *least == "0").map(|(other, _)| (one, other)));
        let list = lists.next().expect("what shares nothing but what models alone share");
        bared.extend(list.split("Op::").skip(1).map(|other| (one, place_of(other))));
        let list = lists.next().expect("the twins");
        twins.extend(list.split("(Op::").skip(1).map(|other| (one, place_of(other))));
    }
    let mark = |one, other| {
        let both = [(one, other), (other, one)];
        let ways =
            |set: &BTreeSet<(usize, usize)>| both.iter().filter(|way| set.contains(way)).count();
        match (ways(&twins), ways(&apart), ways(&bared)) {
            (0, 2, 0) => '=',
            (0, 0, 2) => 'p',
            (0, 0, 0) => '-',
            (1.., 0, 0) => 'T',
            _ => panic!("{} and {}: more than one mark, or one way only", OPS[one], OPS[other]),
        }
    };
    let pairs = (0..OPS.len()).flat_map(|one| (one..OPS.len()).map(move |other| (one, other)));
    pairs.map(|(one, other)| ((one, other), mark(one, other))).collect()
}

#[test]
fn the_document_marks_the_pairs_as_they_are() {
    let text = fs::read_to_string(root().join("docs/verification.md")).expect("the document");
    let rows = text.lines().skip_while(|line| !line.starts_with("| beside |")).skip(2);
    let mut marked = BTreeMap::new();
    for (one, row) in rows.take(OPS.len()).enumerate() {
        let cells = row.trim_matches('|').split('|').skip(1).map(str::trim);
        let marks =
            cells.enumerate().filter_map(|(other, cell)| Some((other, cell.chars().last()?)));
        marked.extend(marks.map(|(other, mark)| ((one, other), mark)));
    }
    assert_eq!(marked, marks_of_pairs());
    let with_twin = marked.values().filter(|mark| **mark == 'T').count();
    let says = format!("{with_twin} of the 171 have a twin");
    assert!(text.contains(&says), "the document does not say: {says}");
}
