//! Answers and candidates, checked before `webrtcbin` sees them. Pure.
