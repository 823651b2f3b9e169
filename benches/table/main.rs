//! Speed of the table operations.

fn main() {}
