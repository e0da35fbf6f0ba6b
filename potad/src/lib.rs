//! potad
