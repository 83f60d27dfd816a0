#!/usr/bin/env bash
# Runs one fuzzer on its committed corpus and on from there. Usage: smoke.sh BUILD_DIR NAME SECONDS
set -euo pipefail
build=$1 name=$2 seconds=$3
binary=$build/bin/${name}_fuzz
if [ ! -x "$binary" ]; then
  echo "$binary is not there: build it with 'make fuzz'"
  exit 77
fi
mkdir -p "$build/learned/$name" "$build/findings"
# -error_exitcode: libFuzzer's own, 77, says "skipped" to ctest.
exec "$binary" -error_exitcode=1 -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
  -artifact_prefix="$build/findings/$name-" "$build/learned/$name" "$(dirname "$0")/corpus/$name"
