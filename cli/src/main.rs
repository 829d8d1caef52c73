//! The ippriv command.
fn main() {}
