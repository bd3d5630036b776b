//! The pages for people who configure and mend a device (`docs/configure.md`, `docs/troubleshoot.md`): their TOML is
//! what `perch check` says of it, and what they quote is what the program says. Their commands are run by `tests/deb`.
#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, helpers included"
)]

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    process::{Command, Output},
};

const CONFIGURE: &str = include_str!("../docs/configure.md");
const TROUBLESHOOT: &str = include_str!("../docs/troubleshoot.md");

/// A fenced block.
struct Block<'a> {
    kind: &'a str,
    text: &'a str,
    line: usize,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut open: Option<(&str, usize, usize)> = None;
    let mut at = 0;
    for (number, line) in page.split_inclusive('\n').enumerate() {
        match (open, line.trim_end().strip_prefix("```")) {
            (None, Some(kind)) => open = Some((kind, at + line.len(), number + 1)),
            (Some((kind, from, line)), Some("")) => {
                let text = &page[from..at];
                found.push(Block { kind, text, line });
                open = None;
            }
            _ => {}
        }
        at += line.len();
    }
    assert!(open.is_none(), "a block is never closed");
    found
}

/// A device with every secret that the pages name, and settings of its own that theirs are laid over.
fn device(lobby: &str, toml: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    for name in ["lobby-secret", "turn-secret", "turn-password"] {
        put(name, "a-secret-of-some-length\n");
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let wanted = rcgen::CertificateParams::new(vec!["porch.example.org".into()]).unwrap();
    put("lobby.crt", &wanted.self_signed(&key).unwrap().pem());
    put("tls-key", &key.serialize_pem());
    put(
        "perch.toml",
        &format!("[camera]\nprofile = 'test'\n{lobby}"),
    );
    fs::create_dir(directory.path().join("conf.d")).unwrap();
    put("conf.d/50-site.toml", toml);
    directory
}

fn check(directory: &Path) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perch"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("PERCH_") || text == "CREDENTIALS_DIRECTORY" {
            command.env_remove(name);
        }
    }
    let Output { status, stderr, .. } = command
        .args(["check", "--config"])
        .arg(directory.join("perch.toml"))
        .env("STATE_DIRECTORY", directory)
        .output()
        .unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    // As on a device.
    let shown = stderr.replace(directory.to_str().unwrap(), "/etc/perch");
    (status.code().unwrap(), shown)
}

/// One that is wrong is followed by what is said of it, and nothing else is.
#[test]
fn every_toml_of_the_pages_is_what_perch_check_says_of_it() {
    const LOBBY: &str = "[lobby]\nurl = 'https://lobby.example.org'\n\
                         [lobby.auth]\nsecret_file = 'lobby-secret'\nsubject = 'porch'\n";
    let mut tried = (0, 0);
    for page in [CONFIGURE, TROUBLESHOOT] {
        let blocks = blocks(page);
        for (index, block) in blocks.iter().enumerate() {
            if block.kind != "toml" {
                continue;
            }
            let takes_it_back = block.text.contains("url = \"\"");
            let has_its_own = block.text.contains("[embedded_lobby]") && !takes_it_back;
            let device = device(if has_its_own { "" } else { LOBBY }, block.text);
            let (code, said) = check(device.path());
            let next = blocks.get(index + 1).filter(|next| next.kind == "check");
            let expected = next.map_or("", |next| next.text);
            assert_eq!(said, expected, "line {}:\n{}", block.line, block.text);
            assert_eq!(code, i32::from(next.is_some()), "line {}", block.line);
            tried = (tried.0 + 1, tried.1 + i32::from(next.is_some()));
        }
    }
    assert!(tried.0 > 10 && tried.1 >= 2, "{tried:?}");
}

/// Kinds of blocks whose lines are the program's.
const QUOTES: [&str; 5] = ["journal", "status", "doctor", "why", "check"];

/// What stands in the quotes and is not the program's: examples, and the words of the system and of GStreamer.
const OTHERS: &[&str] = &[
    // Of GStreamer, of v4l2src.
    "v4l2src0: Failed to allocate required memory. (Buffer pool activation failed)",
    "https://lobby.example.org",
    "wss://lobby.example.org",
    "nosuch.lobby.example.org",
    "lobby.example.org",
    "turn:127.0.0.1:",
    "127.0.0.1:",
    "/dev/video0",
    "/var/lib/perch",
    "/run/perch/status.sock",
    "/etc/perch/conf.d/50-site.toml",
    "/etc/perch/lobby-secret",
    "Porch",
    "cpu-thermal",
    "video",
    "v4l2",
    "42c01f",
    "42c028",
    // Of systemd, for the unit's state.
    "dead",
    "running",
    "inactive",
    "active",
    // Of the lobby.
    "Authentication error",
    // Of the C library.
    "Connection refused (os error 111)",
];

/// A hole in a sentence.
const HOLE: char = '…';

/// Every text in the sources, tests left out: what the program may say, with holes.
fn sentences() -> Vec<String> {
    let mut found = HashSet::new();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" {
                directories.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let source = fs::read_to_string(&path).unwrap();
                let program = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
                found.extend(texts(program).into_iter().map(|text| holed(&text)));
            }
        }
    }
    // Without a letter or a sign that ends a part, anything would be one.
    // Some are cut where the remedy begins.
    let cut = |text: &String| text.split_once("; ").map(|(what, _)| what.to_owned());
    let cuts: Vec<String> = found.iter().filter_map(cut).collect();
    found.extend(cuts);
    found.retain(|text| text.contains(|c: char| c.is_alphabetic() || ":;,(".contains(c)));
    found.into_iter().collect()
}

/// The texts of a source, as far as it takes: no comments, escapes resolved.
fn texts(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '/' if rest.peek() == Some(&'/') => while rest.next_if(|c| *c != '\n').is_some() {},
            '\'' => {
                // A character or a lifetime.
                if rest.next() == Some('\\') {
                    rest.next();
                }
                rest.next_if(|c| *c == '\'');
            }
            '"' => {
                let mut text = String::new();
                while let Some(character) = rest.next() {
                    match character {
                        '"' => break,
                        '\\' => match rest.next() {
                            Some('\n') => while rest.next_if(|c| c.is_whitespace()).is_some() {},
                            Some('n') => text.push('\n'),
                            Some(escaped) => text.push(escaped),
                            None => break,
                        },
                        other => text.push(other),
                    }
                }
                found.push(text);
            }
            _ => {}
        }
    }
    found
}

/// A text with a hole for each value that is put into it.
fn holed(text: &str) -> String {
    let mut out = String::new();
    let mut depth = 0;
    for character in in_general(&text.replace("{{", "\u{1}").replace("}}", "\u{2}")).chars() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    out.push(HOLE);
                }
            }
            _ if depth > 0 => {}
            other => out.push(other),
        }
    }
    out.replace('\u{1}', "{").replace('\u{2}', "}")
}

/// With a hole for each number.
fn in_general(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if !character.is_ascii_digit() {
            out.push(character);
            continue;
        }
        if !out.ends_with(HOLE) {
            out.push(HOLE);
        }
        while rest.next_if(char::is_ascii_digit).is_some() {}
        // Of a fraction, not of a sentence's end.
        let mut ahead = rest.clone();
        if ahead.next() == Some('.') && ahead.next().is_some_and(|next| next.is_ascii_digit()) {
            rest.next();
        }
    }
    out
}

/// Whether a quote is one of the sentences, where what is in its holes is nothing in particular, or a quote itself.
struct Matcher {
    sentences: Vec<String>,
    known: RefCell<HashMap<String, bool>>,
}

impl Matcher {
    fn new() -> Self {
        Self {
            sentences: sentences(),
            known: RefCell::default(),
        }
    }

    fn says(&self, quote: &str) -> bool {
        let mut quote = quote.trim().to_owned();
        for other in OTHERS {
            quote = quote.replace(other, "…");
        }
        self.is_one(&in_general(&quote))
    }

    fn is_one(&self, quote: &str) -> bool {
        if quote.chars().all(|c| c == HOLE || "\"'`-:/ ".contains(c)) {
            return true;
        }
        if let Some(known) = self.known.borrow().get(quote) {
            return *known;
        }
        let is_one = self.sentences.iter().any(|sentence| self.fits(quote, sentence))
            // Or one of them, with another one put behind it.
            || ["; ", ": ", ", ", " ("].into_iter().any(|begins| {
                quote.match_indices(begins).any(|(at, _)| {
                    at > 0 && self.follows(begins, &quote[at..]) && self.is_one(&quote[..at])
                })
            });
        self.known.borrow_mut().insert(quote.to_owned(), is_one);
        is_one
    }

    fn follows(&self, begins: &str, quote: &str) -> bool {
        let mut behind = self
            .sentences
            .iter()
            .filter(|text| text.starts_with(begins));
        behind.any(|sentence| self.fits(quote, sentence))
    }

    /// Every hole of a sentence takes less than the whole, as something of it stands outside.
    fn fits(&self, quote: &str, sentence: &str) -> bool {
        let Some((before, after)) = sentence.split_once(HOLE) else {
            return quote == sentence;
        };
        let Some(rest) = quote.strip_prefix(before) else {
            return false;
        };
        let mut pieces = after.split(HOLE).filter(|piece| !piece.is_empty());
        let mut left = rest;
        let are_there = pieces.all(|piece| match left.split_once(piece) {
            Some((_, more)) => {
                left = more;
                true
            }
            None => false,
        });
        if !are_there {
            return false;
        }
        // What is in this hole ends where the next piece begins, at any of its places.
        let piece = after.split(HOLE).next().unwrap_or_default();
        let ends: Vec<usize> = match (piece, after) {
            ("", "") => vec![rest.len()],
            ("", _) => rest
                .char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .collect(),
            _ => rest.match_indices(piece).map(|(at, _)| at).collect(),
        };
        ends.into_iter().any(|end| {
            let (value, more) = rest.split_at(end);
            self.fits(more, after) && self.is_one(value)
        })
    }
}

#[test]
fn every_quote_of_the_pages_is_the_programs() {
    let matcher = Matcher::new();
    let mut quoted = 0;
    let mut strange = Vec::new();
    for page in [CONFIGURE, TROUBLESHOOT] {
        for block in blocks(page) {
            // Those that follow a TOML have been compared with what is said.
            if !QUOTES.contains(&block.kind) || (page == CONFIGURE && block.kind == "check") {
                continue;
            }
            for line in block.text.lines() {
                quoted += 1;
                let said = match block.kind {
                    "doctor" => finding(line),
                    "check" => line.strip_prefix("fault: ").map_or(line, without_place),
                    _ => line,
                };
                if !matcher.says(said) {
                    strange.push(line);
                }
            }
        }
    }
    assert!(strange.is_empty(), "nobody says:\n{}", strange.join("\n"));
    assert!(quoted > 60, "{quoted}");
}

/// What is said of a setting, behind its file, line and column, and its key.
fn without_place(fault: &str) -> &str {
    let is_placed = fault.starts_with('/');
    let message = fault.splitn(3, ": ").nth(2).filter(|_| is_placed);
    message.unwrap_or(fault)
}

/// What a line of `perch doctor` says; its level and its check have to be some.
fn finding(line: &str) -> &str {
    if let Some(mend) = line.trim_start().strip_prefix("→ ") {
        assert!(line.starts_with(&" ".repeat(22)), "{line}");
        return mend;
    }
    let level = ["ok     ", "note   ", "FAULT  "]
        .into_iter()
        .find_map(|level| line.strip_prefix(level));
    let (check, what) = level.expect(line).split_at(15);
    let checks = include_str!("../docs/observe.md");
    assert!(
        checks.contains(&format!("| `{}` |", check.trim())),
        "{line}"
    );
    what
}

#[test]
fn what_the_page_is_quoted_with_it_says() {
    let words = include_str!("../web/src/words.ts");
    let mut quoted = 0;
    for block in blocks(TROUBLESHOOT) {
        if block.kind == "page" {
            for line in block.text.lines() {
                assert!(words.contains(&format!("\"{line}\"")), "{line}");
                quoted += 1;
            }
        }
    }
    assert!(quoted > 3, "{quoted}");
}

/// What is named in the text, too, has been run in a block of these pages, or is what the program advises.
#[test]
fn every_command_in_a_sentence_is_one_of_a_block() {
    const PAGES: [&str; 4] = [
        CONFIGURE,
        TROUBLESHOOT,
        include_str!("../docs/install.md"),
        include_str!("../docs/service.md"),
    ];
    const PROGRAMS: [&str; 7] = [
        "perch ",
        "systemctl ",
        "journalctl ",
        "timedatectl ",
        "apt-get ",
        "update-ca-certificates",
        "dmesg",
    ];
    let run: String = PAGES
        .into_iter()
        .flat_map(blocks)
        .filter(|block| ["sh", "doctor"].contains(&block.kind))
        .map(|block| block.text)
        .collect();
    let mut named = 0;
    for page in [CONFIGURE, TROUBLESHOOT] {
        let fenced: Vec<_> = blocks(page).into_iter().map(|block| block.text).collect();
        let prose = fenced
            .into_iter()
            .fold(page.replace("```", ""), |prose, block| {
                prose.replace(block, "")
            });
        for command in prose.split('`').skip(1).step_by(2) {
            let is_one = PROGRAMS.iter().any(|program| command.starts_with(program));
            // It is said to be refused.
            if is_one && command != "systemctl reload" {
                named += 1;
                assert!(run.contains(command), "{command}");
            }
        }
    }
    assert!(named > 20, "{named}");
}

/// A test that cannot fail would be worth nothing.
#[test]
fn a_sentence_that_nobody_says_is_noticed() {
    let matcher = Matcher::new();
    for said in [
        "waiting for the camera: …",
        "no line to the lobby (connection refused), trying again in 2 s",
        "live as 'Porch' without a picture: the encoder is silent, restarting it (2 of 10)",
    ] {
        assert!(matcher.says(said), "{said}");
    }
    for unsaid in [
        "waiting for a camera: …",
        "no line to the lobby (connection reset), trying again in 2 s",
        "live as 'Porch' without a picture: the encoder sleeps, restarting it (2 of 10)",
        "the camera",
    ] {
        assert!(!matcher.says(unsaid), "{unsaid}");
    }
}
