//! Traces made by tests, in the recorded format.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file that goes with the value.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    /// A name that nobody has.
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("potad-test-{}-{number}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// The same with contents.
    pub(crate) fn with(name: &str, contents: &[u8]) -> Self {
        let scratch = Self::new(name);
        std::fs::write(&scratch.0, contents).expect("a writable directory");
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// What a made trace is of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// 0 page, 1 malloc, 2 vma, 3 swap.
    pub(crate) kind: u32,
    /// Bytes of order 0.
    pub(crate) unit: u64,
    /// Orders are below this.
    pub(crate) orders: u64,
}

/// A random life of `records` records on two CPUs and threads: allocations,
/// frees by anybody, splits and resizes.
pub(crate) fn random(shape: Shape, records: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut roll = |sides: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    let ids = records as u32;
    let mut live: Vec<(u32, u8)> = Vec::new();
    let mut unused: Vec<u32> = (0..ids).rev().collect();
    let mut body = Vec::new();
    for _ in 0..records {
        let cpu = roll(2) as u8;
        let mut record = |id: u32, op: u8, order: u8, arg: u32| {
            body.extend_from_slice(&id.to_le_bytes());
            body.extend_from_slice(&[op | cpu << 4, order, cpu, 0]);
            body.extend_from_slice(&10_u32.to_le_bytes());
            body.extend_from_slice(&arg.to_le_bytes());
        };
        let at = (!live.is_empty()).then(|| roll(live.len() as u64) as usize);
        match (roll(10), at) {
            (0..3, Some(at)) if live.len() > 4 => {
                let (id, order) = live.swap_remove(at);
                record(id, 1, order, 0);
                unused.push(id);
            }
            (3, Some(at)) if live[at].1 > 0 => {
                let upper = unused.pop().expect("one per record");
                let half = live[at].1 - 1;
                record(live[at].0, 2, half, upper);
                live[at].1 = half;
                live.push((upper, half));
            }
            (4, Some(at)) => {
                let order = roll(shape.orders) as u8;
                live[at].1 = order;
                record(live[at].0, 3, order, 1_u32.checked_shl(order.into()).unwrap_or(u32::MAX));
            }
            _ => {
                let id = unused.pop().expect("one per record");
                let order = roll(shape.orders) as u8;
                record(id, 0, order, (roll(3) as u32) << 24);
                live.push((id, order));
            }
        }
    }
    let mut file = b"POTTRC1\0".to_vec();
    file.extend_from_slice(&shape.kind.to_le_bytes());
    file.extend_from_slice(&16_u32.to_le_bytes());
    file.extend_from_slice(&(records as u64).to_le_bytes());
    file.extend_from_slice(&ids.to_le_bytes());
    file.extend_from_slice(&2_u32.to_le_bytes());
    file.extend_from_slice(&shape.unit.to_le_bytes());
    file.extend_from_slice(&0_u32.to_le_bytes());
    file.extend_from_slice(&2_u32.to_le_bytes());
    file.extend_from_slice(&[0; 16]);
    file.extend_from_slice(&body);
    file
}
