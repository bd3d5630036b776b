#!/usr/bin/env bash
# What a viewer costs, how long a viewer waits, how old the picture is, what comes of a narrow link, and what all that
# costs elsewhere. Prints Markdown.
#
#   benches/run.sh            everything: about forty minutes on an otherwise idle machine, as root (the links)
#   benches/run.sh --write    the same, kept in benches/RESULTS.md
#   benches/run.sh --quick    one short run, to see that it works
#
# PERCH_BIN, SWARM_BIN and PEERS_BIN name release builds; without them all are built.
set -euo pipefail
cd "$(dirname "$0")/.."

write=false
cost=() parts=() join=() latency=() links=() peers=()
for argument in "$@"; do
	case $argument in
	--write) write=true ;;
	--quick) cost=(--runs 1 --seconds 3 --sizes 1,10) parts=(--runs 1 --seconds 3 --viewers 10) join=(--visits 3) latency=(--seconds 5) links=(--seconds 4 --trace 10) peers=(--runs 1 --seconds 3 --sizes 10) ;;
	*)
		echo "usage: $0 [--write] [--quick]" >&2
		exit 2
		;;
	esac
done

target=$(cargo metadata --no-deps --offline --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
if [[ -z ${PERCH_BIN:-} || -z ${SWARM_BIN:-} || -z ${PEERS_BIN:-} ]]; then
	cargo build --release --locked --workspace --bins >&2
fi
export PERCH_BIN=${PERCH_BIN:-$target/release/perch}
export SWARM_BIN=${SWARM_BIN:-$target/release/swarm}
export PEERS_BIN=${PEERS_BIN:-$target/release/peers}
if [[ ! -d tests/node_modules ]]; then
	npm --prefix tests ci --no-audit --no-fund >&2
fi

report() {
	printf '# What it costs\n\n'
	printf 'Made by `make bench` on %s, %s cores, Linux %s, %s.\n' \
		"$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" \
		"$(uname -r | grep -oE '^[0-9]+\.[0-9]+')" "$(gst-inspect-1.0 --version | sed -n 's/.*version /GStreamer /p')"
	printf 'Load of the machine before the run: %s.\n' "$(cut -d' ' -f1 /proc/loadavg)"
	printf '\n## Viewers\n\n'
	"$SWARM_BIN" bench "${cost[@]}"
	printf '\n## What the parts of webrtcbin that are replaced save\n\n'
	"$SWARM_BIN" parts "${parts[@]}"
	printf '\n## Where a viewer'"'"'s threads and time go\n\n'
	"$SWARM_BIN" threads "${parts[@]}"
	printf '\n## First picture in a browser\n\n'
	node benches/latency/join.mjs "${join[@]}"
	printf '\n## Age of the picture\n\n'
	node benches/latency/latency.mjs "${latency[@]}"
	printf '\n## Narrow links\n\n'
	if [[ $(id -u) == 0 ]]; then
		node benches/bandwidth/bandwidth.mjs "${links[@]}"
	else
		printf 'Not measured: network namespaces need root.\n'
	fi
	printf '\n## Peers\n\n'
	benches/peers/run.sh "${peers[@]}"
}

if $write; then
	draft=$(mktemp)
	trap 'rm -f "$draft"' EXIT
	report | tee "$draft"
	mv "$draft" benches/RESULTS.md
	chmod 644 benches/RESULTS.md
else
	report
fi
