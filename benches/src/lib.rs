//! potad-benches
