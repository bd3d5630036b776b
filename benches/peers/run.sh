#!/usr/bin/env bash
# What a viewer costs Perch and its peers, in one run. Prints Markdown. Peers that are not here are named at its end.
#
#   benches/peers/run.sh                              all hosts, three runs: about half an hour
#   benches/peers/run.sh --write                      the same, kept in the last section of benches/RESULTS.md
#   benches/peers/run.sh --only janus --only perch    these alone
#
# Further arguments are those of the program `peers`. PERCH_BIN, PEERS_BIN and WEBRTCSINK_BIN name release builds; what
# is not named is built.
set -euo pipefail
cd "$(dirname "$0")/../.."

write=false
if [[ ${1:-} == --write ]]; then
	write=true
	shift
fi

target=$(cargo metadata --no-deps --offline --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
if [[ -z ${PERCH_BIN:-} || -z ${PEERS_BIN:-} ]]; then
	cargo build --release --locked --workspace --bins >&2
fi
export PERCH_BIN=${PERCH_BIN:-$target/release/perch}
if [[ -z ${WEBRTCSINK_BIN:-} ]]; then
	# Its crates are its own: where they cannot be fetched, the others are measured without it.
	cargo build --release --locked --manifest-path benches/peers/webrtcsink/Cargo.toml --target-dir "$target" >&2 ||
		echo "benches/peers/webrtcsink does not build: webrtcsink is left out" >&2
	export WEBRTCSINK_BIN=$target/release/webrtcsink-host
fi

report() {
	printf 'Load of the machine before the run: %s, after it: ' "$(cut -d' ' -f1 /proc/loadavg)"
	tables=$("${PEERS_BIN:-$target/release/peers}" "$@")
	printf '%s.\n\n%s\n' "$(cut -d' ' -f1 /proc/loadavg)" "$tables"
}

if $write; then
	draft=$(mktemp)
	trap 'rm -f "$draft"' EXIT
	printf '%s\n\n## Peers\n\n' "$(sed '/^## Peers$/,$d' benches/RESULTS.md)" >"$draft"
	report "$@" | tee -a "$draft"
	mv "$draft" benches/RESULTS.md
	chmod 644 benches/RESULTS.md
else
	report "$@"
fi
