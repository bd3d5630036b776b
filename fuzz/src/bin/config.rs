//! A configuration file. Whatever is wrong with it is told in lines that fit a log, and a secret that was
//! pasted in is never among what is told.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use perch::config::{Config, ConfigError, Origin};

const NAME: &str = "perch.toml";
/// Nothing that a search comes upon by itself.
const PASTED: &str = "vN2-qT7xW9zK4-pasted";

fuzz_target!(|text: &str| {
    if let Err(error) = Config::from_text(Path::new(NAME), text) {
        check(text, &error);
    }
    if text.contains(PASTED) {
        return;
    }
    for (section, key) in [("[lobby.auth]", "token"), ("[[ice.servers]]", "credential")] {
        let pasted = format!("{text}\n{section}\n{key} = '{PASTED}'\n");
        let error = Config::from_text(Path::new(NAME), &pasted)
            .expect_err("a secret does not stand in a configuration");
        check(&pasted, &error);
        assert!(!error.to_string().contains(PASTED));
        assert!(!format!("{error:?}").contains(PASTED));
    }
});

fn check(text: &str, error: &ConfigError) {
    let ConfigError::Problems(problems) = error else {
        panic!("a text that is there has other problems than {error}");
    };
    assert!(!problems.is_empty());
    for problem in problems {
        assert!(!problem.message.is_empty());
        assert!(
            problem.message.len() < 2000,
            "a problem must fit a log line"
        );
        assert!(!problem.message.contains('\n'), "a problem is one line");
        if let Origin::File { line, column, .. } = &problem.origin {
            assert!((1..=text.split('\n').count()).contains(line));
            assert!(*column >= 1);
        }
    }
}
