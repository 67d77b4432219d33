#!/usr/bin/env bash
# Builds Abseil with ThreadSanitizer, from the source package of the very
# version that Debian's libabsl has, into DIR/lib:
#
#   tests/sanitize/abseil.sh DIR
#
# ThreadSanitizer sees a lock only where the lock tells of itself, and Debian's
# absl::Mutex does not: every variable that one guards would be reported. The
# libraries have the names and the layout of Debian's, so that the dynamic linker
# takes them in their place, for gRPC too. Statuses, cords and strings stay Debian's:
# gRPC hands them from thread to thread by means of its own, which are not seen.
set -euo pipefail
dir=${1:?usage: tests/sanitize/abseil.sh DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
version=$(dpkg-query -W -f '${Version}' libabsl20220623)
[[ ! -e $dir/lib/$version ]] || exit 0

fail() {
  echo "sanitize: $*" >&2
  exit 1
}
# Lists of its own: the machine's may know no source packages, and stay as they are.
lists=$dir/lists
mkdir -p "$lists/state/partial" "$lists/cache/archives/partial"
apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) main' \
  "Created-By: Packages" "Component: main" | sort -u >"$lists/sources.list"
[[ -s $lists/sources.list ]] || fail "apt names no repository to take the source of abseil from"
apt=(apt-get -q -o "Dir::Etc::SourceList=$lists/sources.list" -o Dir::Etc::SourceParts=-
  -o "Dir::State::Lists=$lists/state" -o "Dir::Cache=$lists/cache")
echo "sanitize: taking the source of abseil $version"
"${apt[@]}" update >"$dir/apt.log" 2>&1 || fail "apt-get update failed, see $dir/apt.log"
(cd "$dir" && "${apt[@]}" --download-only source "abseil=$version") >>"$dir/apt.log" 2>&1 ||
  fail "apt-get source abseil=$version failed, see $dir/apt.log"
rm -rf "$dir/source"
dpkg-source --no-check -x "$dir"/abseil_*.dsc "$dir/source" >>"$dir/apt.log" 2>&1 ||
  fail "unpacking the source of abseil failed, see $dir/apt.log"

echo "sanitize: building it with ThreadSanitizer"
cmake -S "$dir/source" -B "$dir/build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DCMAKE_CXX_STANDARD=17 -DBUILD_SHARED_LIBS=ON -DCMAKE_CXX_FLAGS=-fsanitize=thread \
  >"$dir/build.log" 2>&1 || fail "cmake failed, see $dir/build.log"
ninja -C "$dir/build" >>"$dir/build.log" 2>&1 ||
  fail "the build failed, see $dir/build.log"
mkdir -p "$dir/lib"
find "$dir/build" -name 'libabsl_*.so*' ! -name 'libabsl_status*' ! -name 'libabsl_cord*' \
  ! -name 'libabsl_str*' -exec cp -P {} "$dir/lib" \;
touch "$dir/lib/$version"
