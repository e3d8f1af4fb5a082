//! Data set + verdict → overlay. Pure.
