//! Worlds that serve one story after another.
//!
//! A story of twenty operations costs a tenth of making a zone or a tree and of
//! giving its memory to the system again. So a fuzzer tells its stories in worlds
//! that are kept, one of each kind: the end of a story must leave its world as it
//! was found, and whether it did is checked there. That sees more than a new world
//! does: what the end of a story forgot is in the way of the next.
//!
//! What is in the tables, in the hands of threads and in pools is not as it was.
//! So a story may fail for what others did before it. After [`LIFE`] of them a
//! world is dropped, and with [`write_before_a_panic`] those that the world of a
//! failure has seen are written beside it; told in that order they repeat it.

use std::cell::RefCell;

/// Stories that a world serves.
const LIFE: usize = 64;

std::thread_local! {
    /// What the world of the present story has seen.
    static BEFORE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Worlds by what they are.
#[derive(Debug)]
pub struct Kept<K, W>(Vec<Entry<K, W>>);

#[derive(Debug)]
struct Entry<K, W> {
    key: K,
    /// Not while a story is told in it.
    world: Option<W>,
    stories: Vec<Vec<u8>>,
}

impl<K: PartialEq, W> Kept<K, W> {
    /// None yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The world that is kept, or a new one, to tell a story in.
    pub fn take(&mut self, key: K, make: impl FnOnce(&K) -> W) -> W {
        let at = self.0.iter().position(|entry| entry.key == key);
        let entry = match at {
            Some(at) => &mut self.0[at],
            None => self.0.push_mut(Entry { key, world: None, stories: Vec::new() }),
        };
        let stories = core::mem::take(&mut entry.stories);
        let world = entry.world.take();
        BEFORE.set(if world.is_some() { stories } else { Vec::new() });
        world.unwrap_or_else(|| make(&entry.key))
    }

    /// Keeps it for the next story, for it is as it was before this one.
    pub fn put(&mut self, key: &K, world: W, story: &[u8]) {
        let mut stories = BEFORE.take();
        stories.push(story.to_vec());
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.key == *key)
            && stories.len() < LIFE
        {
            (entry.world, entry.stories) = (Some(world), stories);
        }
    }
}

impl<K: PartialEq, W> Default for Kept<K, W> {
    fn default() -> Self {
        Self::new()
    }
}

/// From now on a panic writes the stories that its world has seen into files,
/// where libFuzzer writes the one that failed.
pub fn write_before_a_panic() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let mut args = std::env::args();
        let prefix = args.find_map(|arg| Some(arg.strip_prefix("-artifact_prefix=")?.to_owned()));
        let prefix = prefix.unwrap_or_default();
        if let Ok(stories) = BEFORE.try_with(RefCell::take) {
            for (at, story) in stories.iter().enumerate() {
                // What cannot be written is missed by whoever repeats the failure.
                let _missing = std::fs::write(format!("{prefix}before-{at:02}"), story);
            }
            eprintln!("its world had seen {} stories: {prefix}before-*", stories.len());
        }
        hook(info);
    }));
}
