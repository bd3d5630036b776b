//! The rules: who watches, in which state, what happens next.

pub mod end;
pub mod roster;
pub mod viewer;
