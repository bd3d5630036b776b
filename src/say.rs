//! What a person at a terminal is told. Whoever listened may have heard enough (`perch status | head -1`), or the
//! terminal may be gone: that is no failure, and `println!` would panic.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// To standard output, with an end of line.
pub fn line(text: impl Display) {
    tell(io::stdout(), format_args!("{text}\n"));
}

/// To standard output, as it is.
pub fn text(text: impl Display) {
    tell(io::stdout(), text);
}

/// To standard error, with an end of line.
pub fn complaint(text: impl Display) {
    tell(io::stderr(), format_args!("{text}\n"));
}

fn tell(mut to: impl Write, text: impl Display) {
    let _ = write!(to, "{text}").and_then(|()| to.flush());
}
