#!/usr/bin/env bash
# Builds ckptd into build/ (or $CKPT_BUILD_DIR) with Ninja, optimized, with line
# numbers. Arguments that begin with -D go to CMake, the others are the targets
# to build; with none it builds everything. Run deploy/install.sh build before.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${CKPT_BUILD_DIR:-build}

options=()
targets=()
for argument in "$@"; do
  if [[ $argument == -D* ]]; then options+=("$argument"); else targets+=("$argument"); fi
done

# A file that includes LibTorch takes the compiler 1.5 GB: no more of them at a
# time than memory holds.
cores=$(nproc)
by_memory=$(awk '/^MemAvailable:/ {print int($2 / 1572864)}' /proc/meminfo)
jobs=$((by_memory < cores ? by_memory : cores))
((jobs > 0)) || jobs=1

mkdir -p "$build"
log=$build/build.log
echo "build: configuring in $build"
if ! cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo "${options[@]}" >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "build: cmake failed, the whole log is $log" >&2
  exit 1
fi
echo "build: compiling with $jobs jobs: ${targets[*]:-everything} (the first time takes minutes)"
started=$SECONDS
if [[ -t 1 ]]; then
  ninja -C "$build" -j "$jobs" "${targets[@]}" || status=$?
else
  ninja -C "$build" -j "$jobs" "${targets[@]}" >>"$log" 2>&1 || status=$?
fi
if [[ ${status:-0} -ne 0 ]]; then
  [[ -t 1 ]] || grep -A 40 -m 1 '^FAILED:' "$log" >&2 || tail -n 40 "$log" >&2
  echo "build: compiling failed, the log is $log" >&2
  exit 1
fi
echo "build: done in $((SECONDS - started)) s"
