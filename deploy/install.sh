#!/usr/bin/env bash
# Installs what ckptd needs on Debian 12, with apt and nothing else.
#
#   deploy/install.sh daemon  what ckptd and ckptctl need to run
#   deploy/install.sh run     that, and what the trainers need (LibTorch)
#   deploy/install.sh core    what it takes to compile ckptd and ckptctl
#   deploy/install.sh build   what it takes to compile everything
#   deploy/install.sh test    what the tests need beside build
#   deploy/install.sh bench   what the benchmark needs beside build
#   deploy/install.sh fuzz    what fuzzing needs beside core and test
#   deploy/install.sh all     build, test, bench and fuzz
#
# Several may be named at once. Packages that are there already are not touched:
# with nothing missing it needs neither root nor a network, and ends at once.
# Becomes root through sudo where it has to. Exit code: 0 all is there, 1 an
# installation failed, 2 wrong use.
set -euo pipefail

daemon_packages=(
  libgrpc++1.51 libprotobuf32 libabsl20220623 libssl3 # the wire
  libsqlite3-0                                        # the catalog
  libfmt9 libspdlog1.10 libsystemd0 liburing2 zlib1g libzstd1
  libprometheus-cpp-core1.0 libcivetweb1              # metrics
)
# LibTorch asks for any BLAS, and apt would choose the reference one: a step of the
# tiny model takes four times as long with it as with OpenBLAS.
run_packages=("${daemon_packages[@]}" libtorch1.13 libopenblas0)
core_packages=(
  "${daemon_packages[@]}"
  g++ cmake ninja-build ccache pkg-config git
  libgrpc++-dev libgrpc-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
  libabsl-dev libssl-dev libsqlite3-dev librust-blake3-dev
  libfmt-dev libspdlog-dev libcli11-dev nlohmann-json3-dev libsystemd-dev
  liburing-dev zlib1g-dev libzstd-dev prometheus-cpp-dev libcivetweb-dev
)
build_packages=("${core_packages[@]}" libtorch1.13 libopenblas0 libtorch-dev)
# prometheus: for promtool, which checks metrics and alerts.
test_packages=(libgtest-dev libgmock-dev python3 python3-torch python3-numpy prometheus)
fuzz_packages=(clang libclang-rt-14-dev)
bench_packages=(fio rsync nginx restic borgbackup gnuplot-nox)

say() { echo "install: $*"; }
fail() {
  echo "install: $*" >&2
  exit 1
}
usage() {
  sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "$0" >&2
  exit 2
}

[[ $# -gt 0 ]] || usage
wanted=()
for part in "$@"; do
  case $part in
    daemon) wanted+=("${daemon_packages[@]}") ;;
    run) wanted+=("${run_packages[@]}") ;;
    core) wanted+=("${core_packages[@]}") ;;
    build) wanted+=("${build_packages[@]}") ;;
    test) wanted+=("${test_packages[@]}") ;;
    bench) wanted+=("${bench_packages[@]}") ;;
    fuzz) wanted+=("${fuzz_packages[@]}") ;;
    all) wanted+=("${build_packages[@]}" "${test_packages[@]}" "${bench_packages[@]}"
      "${fuzz_packages[@]}") ;;
    *) usage ;;
  esac
done

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
  fail "this machine has no dpkg and apt; on it install these by hand: ${wanted[*]}"

installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null |
  sed -n 's/^installed //p' || true)
missing=()
for package in "${wanted[@]}"; do
  grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  say "all ${#wanted[@]} packages for '$*' are there"
  exit 0
fi

release=$(. /etc/os-release && echo "${ID:-?} ${VERSION_ID:-?}")
[[ $release == "debian 12" ]] ||
  fail "this is $release, the packages are named for debian 12; missing here: ${missing[*]}"

as_root=()
if [[ $EUID -ne 0 ]]; then
  command -v sudo >/dev/null ||
    fail "run it as root (sudo is not installed); missing: ${missing[*]}"
  as_root=(sudo)
fi
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
    apt-get -q -y -o Dpkg::Use-Pty=0 "$@"
}

say "${#missing[@]} of ${#wanted[@]} packages for '$*' are missing: ${missing[*]}"
say "updating the package lists"
apt update || fail "apt-get update failed, see above"
# Tests and benchmark start what they need, on loopback. Debian's services would be
# there besides, open to everybody.
services=()
for service in nginx prometheus; do
  [[ " ${missing[*]} " != *" $service "* ]] || services+=("$service")
done
policy=/usr/sbin/policy-rc.d
if [[ ${#services[@]} -gt 0 ]]; then
  if [[ ! -e $policy ]]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
  fi
fi
say "installing"
apt install --no-install-recommends "${missing[@]}" || fail "apt-get install failed, see above"
if [[ ${#services[@]} -gt 0 ]] && command -v systemctl >/dev/null; then
  "${as_root[@]}" systemctl disable "${services[@]}" ||
    say "${services[*]} may stay enabled: see above"
fi
say "done"
