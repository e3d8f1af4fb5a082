//! Facts of an instance + rules → destinations. Pure.
