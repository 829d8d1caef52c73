//! Results made readable: plots, tables, pages, comparisons.
