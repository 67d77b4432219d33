# shellcheck shell=bash
# Shell functions that the scripts here share; to be sourced. Bash.

# A TCP port of 127.0.0.1 that nobody listens on at this moment.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# start_daemon BIN_DIR DATA_DIR LOG [FLAG...]: starts a ckptd on a free port and
# waits until it answers. Sets daemon_pid and daemon_address. Fails with the
# end of the log when it ends or does not answer in 30 s.
start_daemon() {
  local bin=$1 data=$2 log=$3 waited=0
  shift 3
  daemon_address=127.0.0.1:$(free_port)
  "$bin/ckptd" --data-dir "$data" --listen "$daemon_address" "$@" >"$log" 2>&1 &
  daemon_pid=$!
  until "$bin/ckptctl" stats --address "$daemon_address" >/dev/null 2>&1; do
    if ! kill -0 "$daemon_pid" 2>/dev/null || ((++waited > 60)); then
      tail -n 20 "$log" >&2
      echo "ckptd did not start, its log is $log" >&2
      return 1
    fi
    sleep 0.5
  done
}

# Asks the daemon to drain and end, and waits until it has. Its exit code.
stop_daemon() {
  local pid=${daemon_pid:-}
  [[ -n $pid ]] || return 0
  daemon_pid=
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid"
}
