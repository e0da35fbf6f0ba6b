//! potad-lookup
