//! The command itself: exit status, and one line for what is wrong.
//!
//! `cargo test` builds the examples beside the tests; where only this test is
//! built they may be missing, and there is nothing to run.

mod common;

use common::{Scratch, Shape, random};
use std::path::PathBuf;
use std::process::{Command, Output};

fn vmm(arguments: &[&str]) -> Option<Output> {
    let here = std::env::current_exe().expect("a path");
    let program = here.parent()?.parent()?.join("examples/vmm");
    if !program.exists() {
        eprintln!("{} is not built: nothing tested", program.display());
        return None;
    }
    Some(Command::new(program).args(arguments).output().expect("it starts"))
}

/// The exit status, and what was said on stderr.
fn ended(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn name(path: &std::path::Path) -> &str {
    path.to_str().expect("plain")
}

#[test]
fn a_short_run_prints_a_summary_and_writes_its_files() {
    let (json, svg) = (Scratch::new("json"), Scratch::new("svg"));
    let files = ["--json", name(&json.0), "--svg", name(&svg.0)];
    let Some(output) = vmm(&[&["--records", "3000", "--guests", "3"], &files[..]].concat()) else {
        return;
    };
    // No bar where stderr is no terminal.
    assert_eq!(ended(&output), (Some(0), String::new()));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("result    sound"), "{text}");
    let json = std::fs::read_to_string(&json.0).expect("written");
    let json: serde_json::Value = serde_json::from_str(&json).expect("valid");
    assert_eq!((&json["guests"], &json["failed_allocations"]), (&3.into(), &0.into()));
    assert!(std::fs::read_to_string(&svg.0).expect("written").starts_with("<svg"));
}

#[test]
fn bad_input_is_one_line_and_status_2() {
    let pages = random(Shape { kind: 0, unit: 4096, orders: 4 }, 2000, 1);
    let cut = Scratch::with("cut", &pages[..1000]);
    let whole = Scratch::with("whole", &pages);
    let missing = PathBuf::from("/nonexistent/trace");
    let cases: [&[&str]; 5] = [
        &["--trace", name(&missing)],
        &["--trace", name(&cut.0)],
        &["--trace", name(&whole.0), "--swap-mib", "1000000000000"],
        &["--trace", name(&whole.0), "--driver-fault", "1"],
        &["--trace", name(&whole.0), "--json", "/nonexistent/json"],
    ];
    for arguments in cases {
        let Some(output) = vmm(arguments) else { return };
        let (status, said) = ended(&output);
        assert_eq!((status, said.lines().count()), (Some(2), 1), "{arguments:?}: {said}");
        assert!(said.starts_with("vmm: "), "{said}");
    }
}

#[test]
fn an_interrupt_ends_it_cleanly() {
    // Started by hand: a signal needs the process.
    let Some(_) = vmm(&["--records", "100"]) else { return };
    let here = std::env::current_exe().expect("a path");
    let program = here.ancestors().nth(2).expect("a target folder").join("examples/vmm");
    let child = Command::new(program)
        .args(["--guests", "2", "--records", "300000"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    std::thread::sleep(std::time::Duration::from_millis(700));
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    let output = child.wait_with_output().expect("it ends");
    if !sent.is_ok_and(|status| status.success()) {
        return;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // A machine may be so fast that the run was over.
    let expected = if text.contains("interrupted") { 130 } else { 0 };
    assert_eq!(output.status.code(), Some(expected), "{text}");
    assert!(text.contains("everything is back"), "{text}");
}
