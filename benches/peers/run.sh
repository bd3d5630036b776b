#!/usr/bin/env bash
# What a viewer costs Perch and its peers, in one run. Prints Markdown. Peers that are not here are named at its end.
#
#   benches/peers/run.sh                              all hosts, three runs: about half an hour
#   benches/peers/run.sh --only janus --only perch    these alone
#
# Further arguments are those of the program `peers`. PERCH_BIN, PEERS_BIN and WEBRTCSINK_BIN name release builds; what
# is not named is built.
set -euo pipefail
cd "$(dirname "$0")/../.."

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
exec "${PEERS_BIN:-$target/release/peers}" "$@"
