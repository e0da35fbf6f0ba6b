//! The small examples, which check themselves, run to their end.
//!
//! `cargo test` builds the examples beside the tests; where only this test is
//! built they may be missing, and there is nothing to run.

use std::process::Command;

#[test]
fn every_small_example_ends_well_and_says_what_it_did() {
    let here = std::env::current_exe().expect("a path");
    let folder = here.ancestors().nth(2).expect("a target folder").join("examples");
    for (name, says) in [
        ("swap_slots", "swap0"),
        ("contiguous", ""),
        ("clean_cache", "page 42 moved"),
        ("guest_memory", "the guest was told of 0x40123440"),
    ] {
        let program = folder.join(name);
        if !program.exists() {
            eprintln!("{} is not built: nothing tested", program.display());
            continue;
        }
        let output = Command::new(program).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains(says), "{name} said {said}");
    }
}
