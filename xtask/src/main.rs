//! Everything the checks do, in one command.

fn main() {}
