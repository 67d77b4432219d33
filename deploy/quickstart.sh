#!/usr/bin/env bash
# Shows ckptd at work on this machine, from nothing: installs what is missing
# (Debian 12), builds, starts a daemon, trains a small language model through
# it, kills the trainer with SIGKILL, starts it again, and shows that it went
# on, what was kept and why.
#
#   deploy/quickstart.sh
#
# Everything it makes lies in build/ (or $CKPT_BUILD_DIR): the programs in bin/,
# what the demonstration leaves in quickstart/. Nothing keeps running. Stops at
# the first thing that fails and says where its log is.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# -eq 0 ]] || {
  sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "$0" >&2
  exit 2
}
build=$(realpath -m "${CKPT_BUILD_DIR:-build}")
work=$build/quickstart
source deploy/lib.sh

stage=0
stage_text=
stage_log=
stage() { # TEXT [LOG]
  stage_text=$1 stage_log=${2:-}
  printf '\n== %d/8 %s\n' "$((++stage))" "$stage_text"
}
# Prints a command as one would type it, and runs it.
try() {
  echo "\$ $*"
  "$@"
}
trainer_pid=
finish() {
  local code=$?
  trap - EXIT
  if [[ -n $trainer_pid ]]; then kill -KILL "$trainer_pid" 2>/dev/null || true; fi
  stop_daemon || true
  if [[ $code -ne 0 ]]; then
    [[ ! -s $stage_log ]] || tail -n 15 "$stage_log" >&2
    echo "quickstart: failed at '$stage_text'${stage_log:+; the log is $stage_log}" >&2
  fi
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

stage "Installing what is missing"
deploy/install.sh build

stage "Building" "$build/build.log"
# An earlier build with tests stays one.
tests=()
[[ -e $build/CMakeCache.txt ]] || tests=(-DCKPT_TESTS=OFF)
deploy/build.sh -DCKPT_TORCH=ON "${tests[@]}" ckptd ckptctl ckpt-trainer ckpt-tiny
export PATH=$build/bin:$PATH

mkdir -p "$work"
exec 8>"$work.lock"
flock -n 8 || {
  echo "quickstart: another one runs in $work" >&2
  exit 1
}
rm -rf "$work"
mkdir -p "$work"
begun=$SECONDS

stage "Starting the daemon" "$work/ckptd.log"
start_daemon "$build/bin" "$work/data" "$work/ckptd.log" 8>&-
export CKPTD_ADDRESS=$daemon_address
echo "ckptd answers at $CKPTD_ADDRESS, its data is in $work/data"

steps=400
kill_at=230
train=(ckpt-trainer --run demo --size tiny --steps "$steps" --save-every 20 --eval-every 100
  --keep-last 3 --keep-best 2 --print-every 40 --log "$work/loss.jsonl"
  /usr/share/common-licenses)

stage "Training, and killing the trainer after step $kill_at" "$work/trainer-1.log"
echo "\$ ${train[*]}"
"${train[@]}" >"$work/trainer-1.log" 2>&1 8>&- &
trainer_pid=$!
# The loss curve has a line a step.
until [[ -e $work/loss.jsonl && $(wc -l <"$work/loss.jsonl") -ge $kill_at ]]; do
  { kill -0 "$trainer_pid" && kill -0 "$daemon_pid"; } 2>/dev/null || {
    echo "quickstart: the trainer or the daemon ended too early" >&2
    exit 1
  }
  sleep 0.05
done
kill -KILL "$trainer_pid"
wait "$trainer_pid" 2>/dev/null || true
trainer_pid=
tail -n 6 "$work/trainer-1.log"
echo "-- killed with SIGKILL after step $(wc -l <"$work/loss.jsonl")"
try ckptctl list demo

stage "Starting the trainer again, with the same command" "$work/trainer-2.log"
"${train[@]}" >"$work/trainer-2.log" 2>&1 8>&- &
trainer_pid=$!
# Whichever ends first: a trainer without its daemon would wait for it for long.
wait -n -p ended "$trainer_pid" "$daemon_pid"
[[ $ended == "$trainer_pid" ]] || {
  stage_log=$work/ckptd.log daemon_pid=
  echo "quickstart: the daemon ended before the trainer" >&2
  exit 1
}
trainer_pid=
resumed=$(grep -o 'resumed at step [0-9]*' "$work/trainer-2.log") || {
  echo "quickstart: the trainer did not resume" >&2
  exit 1
}
head -n 4 "$work/trainer-2.log"
echo "..."
tail -n 3 "$work/trainer-2.log"
echo "-- $resumed of $steps; the loss curve has $(wc -l <"$work/loss.jsonl") lines, one a step"

stage "What was kept and why, and where the others went"
try ckptctl list demo
try ckptctl history demo --limit 12

stage "Fetching the best one for other programs"
try ckptctl fetch demo@best -o "$work/best.safetensors"
try ckptctl fetch demo@best -o "$work/best.pt"
ls -l "$work"/best.*

stage "Stopping the daemon" "$work/ckptd.log"
stop_daemon
tail -n 2 "$work/ckptd.log"

cat <<TEXT

All well: the demonstration took $((SECONDS - begun)) s. To go on from here:

  export PATH=$build/bin:\$PATH CKPTD_ADDRESS=127.0.0.1:7420
  ckptd --data-dir $work/data --listen \$CKPTD_ADDRESS &
  ckptctl list demo                   what is kept and why
  ckptctl describe demo@best          one checkpoint and its history
  ckptctl pin demo@best release       kept whatever the rules say
  ckptctl prune demo --dry-run        what the rules would remove now
  ckpt-trainer --run demo --steps 800 train on from where it was
  ckptctl --help

README.md has the tour; tests/run runs the tests.
TEXT
