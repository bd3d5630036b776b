//! Perch beside its peers: the hosts that are compared, the stream that those get who take an encoded one, and the
//! lines on which viewers speak to them.

pub mod feed;
pub mod hosts;
pub mod line;
pub mod rtp;
pub mod source;
pub mod table;
