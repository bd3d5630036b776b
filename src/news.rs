//! What somebody shows to whoever looks: changes only are news.

use tokio::sync::watch;

/// Shows `value`, and wakes those who wait for another one only where it is one.
pub fn show<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|shown| {
        let differs = *shown != value;
        *shown = value;
        differs
    });
}
