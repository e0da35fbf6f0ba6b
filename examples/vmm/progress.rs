//! The progress bar, where somebody can see it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use potad_examples::vmm::Tick;
use std::io::IsTerminal;

/// A bar on a terminal, and nothing anywhere else.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} records  {msg}");
            // The template is fixed and good; a bad one would give the default.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar }
    }

    pub(crate) fn show(&mut self, tick: Tick) {
        let Some(bar) = &self.bar else { return };
        bar.set_length(tick.records);
        bar.set_position(tick.done);
        let mib = |bytes: u64| bytes >> 20;
        bar.set_message(format!(
            "{} MiB resident, {} MiB given back",
            mib(tick.resident),
            mib(tick.reported)
        ));
    }

    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
