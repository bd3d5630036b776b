//! Source to encoder: the camera pipeline, one for all viewers.

use super::{BranchId, branch::Branch};

#[derive(Debug)]
pub struct Camera {}

impl Camera {
    /// Opens a branch on this camera; its offer follows as an event.
    pub fn open_branch(&self, branch: BranchId) -> Branch {
        let _ = branch;
        Branch {}
    }
}
