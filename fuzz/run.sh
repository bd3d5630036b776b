#!/bin/sh
# Builds the fuzz targets with stable Rust and runs each for a while. Fails if one crashes, hangs or
# eats memory; the input is then in fuzz/artifacts/TARGET/.
#
#   fuzz/run.sh SECONDS [TARGET…]
#
# A target is one file, src/bin/TARGET.rs, with small seeds in seeds/TARGET/ if it has any. What a run
# learns is kept in corpus/TARGET/ for the next one. To repeat a crash:
#   fuzz/target/fuzz/TARGET fuzz/artifacts/TARGET/crash-…
set -eu

usage="usage: fuzz/run.sh SECONDS [TARGET…]"
seconds=${1:?$usage}
case $seconds in
'' | *[!0-9]* | 0) echo "$usage; SECONDS is a whole number from 1" >&2 && exit 2 ;;
esac
shift
cd "$(dirname "$0")"

if [ $# -eq 0 ]; then
	for file in src/bin/*.rs; do
		set -- "$@" "$(basename "$file" .rs)"
	done
fi
for target in "$@"; do
	[ -f "src/bin/$target.rs" ] || { echo "there is no src/bin/$target.rs" >&2 && exit 2; }
done

# What cargo-fuzz does where no sanitizer is asked for: LLVM's coverage pass needs no nightly. Naming the
# host as --target keeps the flags away from build scripts and macros.
host=$(rustc -vV | sed -n 's/^host: //p')
CARGO_ENCODED_RUSTFLAGS=$(printf '%s\037' \
	-Cpasses=sancov-module \
	-Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares \
	--cfg fuzzing)-Ccodegen-units=1
export CARGO_ENCODED_RUSTFLAGS
cargo build --release --target "$host" --target-dir target
mkdir -p target/fuzz
for target in "$@"; do
	ln -sf "../$host/release/$target" "target/fuzz/$target"
done

failed=
for target in "$@"; do
	mkdir -p "corpus/$target" "artifacts/$target"
	set -- "corpus/$target"
	if [ -d "seeds/$target" ]; then
		set -- "$@" "seeds/$target"
	fi
	log=artifacts/$target/log
	echo "fuzzing $target for $seconds s"
	if "target/fuzz/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 \
		-artifact_prefix="artifacts/$target/" -print_final_stats=1 "$@" >"$log" 2>&1; then
		# Blind runs would look just as green.
		if ! grep -q 'inline 8-bit counters' "$log"; then
			echo "$target: the build is not instrumented, so nothing was searched; see fuzz/$log" >&2
			failed="$failed $target"
		fi
		grep -E 'stat::(number_of_executed_units|new_units_added)' "$log" || true
	else
		tail -n 40 "$log" >&2
		failed="$failed $target"
	fi
done
if [ -n "$failed" ]; then
	echo "failed:$failed" >&2
	exit 1
fi
