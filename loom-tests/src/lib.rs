//! potad-loom-tests
