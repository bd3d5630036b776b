//! The client against a server that follows tests/golden/line/*.txt.

use crate::replay::follow;

macro_rules! transcripts {
    ($($name:ident: $file:literal),+ $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            follow($file, include_str!(concat!("../golden/line/", $file))).await;
        })+
    };
}

transcripts! {
    a_whole_life: "life.txt",
    refused_tokens_are_told_once_and_renewed: "refused.txt",
    outages_end_in_a_new_stream: "put-out.txt",
    a_viewer_before_the_stream_is_live_is_not_lost: "early-viewer.txt",
    a_refused_stream_is_left_in_order: "start-refused.txt",
    sizes_are_kept_to_both_ways: "limits.txt",
    http_answers_are_explained: "http-errors.txt",
    expired_tokens_stay_at_home: "expired.txt",
}
