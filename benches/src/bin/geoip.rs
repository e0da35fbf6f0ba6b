//! Builds a range map of real ranges and checks it: `geoip [FILE]`.
//!
//! The file is that of Debian's package `tor-geoipdb`, lines of first address,
//! last address and country, in decimal. It is not shipped here.

use lookup::{Addresses, Payload, Ranges};
use memdesc::pin;
use potad_benches::workload::Random;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

const FILE: &str = "/usr/share/tor/geoip";
const RANDOM: usize = 4_000_000;

type Error = Box<dyn std::error::Error>;

/// First address to last address and country.
type Reference = BTreeMap<u64, (u64, u32)>;

fn main() -> ExitCode {
    let file = std::env::args().nth(1).unwrap_or_else(|| FILE.into());
    match run(&file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("geoip: {file}: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(file: &str) -> Result<(), Error> {
    let reference = parse(&std::fs::read_to_string(file)?)?;
    let one_by_one = timed("inserting, one by one, each", reference.len(), || {
        let map = Ranges::new();
        for (&first, &(last, country)) in &reference {
            map.insert(Addresses::new(first, last)?, Payload::from(country))?;
        }
        map.settle();
        Ok::<_, Error>(map)
    })?;
    let at_once = timed("building at once, each", reference.len(), || {
        let ranges: Result<Vec<_>, Error> = reference
            .iter()
            .map(|(&first, &(last, country))| {
                Ok((Addresses::new(first, last)?, Payload::from(country)))
            })
            .collect();
        Ok::<_, Error>(Ranges::from_sorted(ranges?)?)
    })?;
    for map in [&one_by_one, &at_once] {
        map.validate(&pin())?;
        check(map, &reference)?;
    }
    let ranges = reference.len() as f64;
    println!("{} ranges, all boundaries and {RANDOM} addresses agree", reference.len());
    for (name, map) in [("one by one", &one_by_one), ("at once", &at_once)] {
        println!("{name}: {:.1} bytes of nodes per range", map.node_bytes() as f64 / ranges);
    }
    costs(&at_once, &reference)
}

fn parse(text: &str) -> Result<Reference, Error> {
    let mut reference = Reference::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let mut fields = line.split(',');
        let mut field = || fields.next().ok_or_else(|| format!("too short: {line}"));
        let (first, last, country) = (field()?.parse()?, field()?.parse()?, field()?);
        let country = country.bytes().fold(0, |name, byte| name << 8 | u32::from(byte));
        if reference.insert(first, (last, country)).is_some() {
            return Err(format!("twice: {line}").into());
        }
    }
    Ok(reference)
}

fn timed<R>(what: &str, count: usize, run: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    let begun = Instant::now();
    let result = run()?;
    println!("{what}: {:.0} ns", begun.elapsed().as_nanos() as f64 / count as f64);
    Ok(result)
}

fn expected(reference: &Reference, at: u64) -> Option<u32> {
    let (_, &(last, country)) = reference.range(..=at).next_back()?;
    (at <= last).then_some(country)
}

/// Each boundary with its neighbours, random addresses, and the walk.
fn check(map: &Ranges<Payload>, reference: &Reference) -> Result<(), Error> {
    let guard = pin();
    let same = |at: u64| {
        let ours = map.find(at, &guard).map(|found| found.get());
        let theirs = expected(reference, at).map(u64::from);
        if ours == theirs { Ok(()) } else { Err(format!("{at:#x}: {ours:?}, not {theirs:?}")) }
    };
    for (&first, &(last, _)) in reference {
        for at in [first.saturating_sub(1), first, last, last + 1] {
            same(at)?;
        }
    }
    let mut random = Random::new(1);
    (0..RANDOM).try_for_each(|_| same(random.below(1 << 32)))?;
    // Neighbours of one country are one range.
    let mut joined: Vec<(u64, u64, u64)> = Vec::new();
    for (&first, &(last, country)) in reference {
        match joined.last_mut() {
            Some(before) if before.1 + 1 == first && before.2 == u64::from(country) => {
                before.1 = last;
            }
            _ => joined.push((first, last, u64::from(country))),
        }
    }
    let walked = map.iter(Addresses::ALL, &guard).map(|found| {
        let range = found.range();
        (range.first(), range.last(), found.get())
    });
    if !walked.eq(joined.iter().copied()) {
        return Err("the walk differs".into());
    }
    println!("the walk agrees: {} ranges, neighbours of one country joined", joined.len());
    Ok(())
}

fn costs(map: &Ranges<Payload>, reference: &Reference) -> Result<(), Error> {
    let mut random = Random::new(2);
    let addresses: Vec<u64> = (0..RANDOM).map(|_| random.below(1 << 32)).collect();
    let guard = pin();
    let find = |at| map.find(at, &guard).map_or(0, |found| found.get());
    let dependent = |find: &dyn Fn(u64) -> u64| {
        // Names are below 2^32: the shift leaves nothing that could be known.
        black_box(addresses.iter().fold(0, |last, &at| find(at + (last >> 40))))
    };
    let theirs = |at| expected(reference, at).map_or(0, u64::from);
    let sum = timed("find, dependent", RANDOM, || Ok(dependent(&find)))?;
    let again = timed("BTreeMap without a lock, dependent", RANDOM, || Ok(dependent(&theirs)))?;
    timed("find, independent", RANDOM, || {
        Ok(black_box(addresses.iter().map(|&at| find(at)).sum::<u64>()))
    })?;
    timed("find_many", RANDOM, || {
        let mut sum = 0;
        map.find_many(&addresses, &guard, |_, found| sum += found.map_or(0, |found| found.get()));
        Ok(black_box(sum))
    })?;
    if sum == again { Ok(()) } else { Err("the last answers differ".into()) }
}
