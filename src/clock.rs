//! The clock of everything that runs by rules.

use std::time::Instant;

/// Tokio's clock, so that tests may pause it.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
