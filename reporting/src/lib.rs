//! potad-reporting
