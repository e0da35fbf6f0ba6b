//! What the kernel that was recorded made of the same requests: the mark to
//! beat. Its machine was aged and far larger than our arena, so that it had
//! room to spread; what it was, the trace does not say.

use super::plan::REGION_BYTES;
use crate::trace::{Kind, Op, Record, Trace};
use serde::Serialize;
use std::collections::HashMap;

/// Bits of a frame's number.
const FRAME_BITS: u32 = 24;

/// Regions of 2 MiB that the kernel's own frames pinned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Kernel {
    /// With a live block of the trace in them at the end.
    pub regions_pinned_end: u64,
    /// The same, the mean over the records.
    pub regions_pinned_mean: f64,
    /// With a block of the trace in them at any time.
    pub regions_touched: u64,
}

impl Kernel {
    /// The figures of a page trace; others name no frames, nor does one with
    /// blocks larger than all frames.
    pub(super) fn of(trace: &Trace) -> Option<Self> {
        let too_large = |record: &Record| record.order.get() > FRAME_BITS;
        if trace.kind() != Kind::Page || trace.records().iter().any(too_large) {
            return None;
        }
        // Lossless: a region has at most 2^21 units.
        let region = (REGION_BYTES / trace.unit()) as u32;
        let mut frames = vec![0_u32; trace.max_ids() as usize];
        let mut live = HashMap::<u32, u64>::new();
        let (mut pinned, mut sum) = (0_u64, 0_u128);
        for record in trace.records() {
            let id = record.id as usize;
            // Lossless: at most 2^24.
            let count = record.order.granules() as u32;
            match record.op {
                Op::Alloc { .. } => {
                    frames[id] = record.frame(Kind::Page).unwrap_or(0);
                    for region in frames[id] / region..=(frames[id] + count - 1) / region {
                        let blocks = live.entry(region).or_insert(0);
                        pinned += u64::from(*blocks == 0);
                        *blocks += 1;
                    }
                }
                Op::Free => {
                    for region in frames[id] / region..=(frames[id] + count - 1) / region {
                        let blocks = live.entry(region).or_insert(1);
                        *blocks = blocks.saturating_sub(1);
                        pinned -= u64::from(*blocks == 0);
                    }
                }
                Op::Split { upper } => {
                    frames[upper as usize] = frames[id] + count;
                    let both = (frames[id] / region, frames[upper as usize] / region);
                    if both.0 == both.1 {
                        *live.entry(both.0).or_insert(0) += 1;
                    }
                }
                Op::Resize { .. } => {}
            }
            sum += u128::from(pinned);
        }
        Some(Self {
            regions_pinned_end: pinned,
            regions_pinned_mean: sum as f64 / trace.records().len().max(1) as f64,
            regions_touched: live.len() as u64,
        })
    }
}
