#!/usr/bin/env bash
# Proves the README on a bare Debian 12: makes a root with debootstrap in which
# nothing but the essential packages is installed, clones the committed tree
# into it, and runs the README's two commands there, one after the other.
# Not part of the test suite: it needs root, a Debian mirror and 5 GB of disk.
#
#   tests/bare/run.sh [--keep] [--root DIR] [--] [COMMAND...]
#
#   --root DIR   make the root at DIR, or go on with the one that is there, and keep it
#   --keep       keep the root at the end (its name is printed)
#   COMMAND...   run this in the tree inside the root instead of the two commands
#
# The mirror is CKPT_DEBIAN_MIRROR where that is set, else whatever this
# machine's own apt reads from. Mounts and processes live in namespaces of their
# own and are gone when it ends, however it ends.
set -euo pipefail

say() { echo "bare: $*"; }
fail() {
  echo "bare: $*" >&2
  exit 1
}

repo=$(cd "$(dirname "$0")/../.." && pwd)
root=
keep=false
while [[ $# -gt 0 ]]; do
  case $1 in
    --root) root=${2:?--root needs a directory} keep=true && shift 2 ;;
    --keep) keep=true && shift ;;
    --) shift && break ;;
    -*) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "$0" >&2 && exit 2 ;;
    *) break ;;
  esac
done

[[ $EUID -eq 0 ]] || fail "must be run as root (debootstrap and chroot need it)"
for tool in debootstrap unshare chroot git; do
  command -v "$tool" >/dev/null || fail "$tool is missing; apt-get install debootstrap util-linux git"
done

if [[ -z $root ]]; then
  root=$(mktemp -d /var/tmp/ckptd-bare.XXXXXX)
fi
cleanup() {
  if $keep; then say "root kept at $root"; else rm -rf --one-file-system "$root"; fi
}
trap cleanup EXIT

# The lines of sources.list that this machine itself would read for Debian 12.
sources() {
  if [[ -n ${CKPT_DEBIAN_MIRROR:-} ]]; then
    echo "deb $CKPT_DEBIAN_MIRROR bookworm main"
  else
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) main' \
      "Created-By: Packages" "Component: main" | grep -E ' bookworm[a-z-]* main$' | sort -u
  fi
}

if [[ ! -e $root/etc/debian_version ]]; then
  mirror=$(sources | awk '$3 == "bookworm" {print $2; exit}')
  [[ -n $mirror ]] || fail "no Debian 12 mirror in apt's sources; set CKPT_DEBIAN_MIRROR"
  say "making a bare Debian 12 at $root"
  debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1 ||
    fail "debootstrap failed, see $root.log"
  rm -f "$root.log"
  sources >"$root/etc/apt/sources.list"
fi

say "cloning $(git -C "$repo" rev-parse --short HEAD) into it"
rm -rf "$root/src/ckptd"
mkdir -p "$root/src"
git clone -q --no-hardlinks "$repo" "$root/src/ckptd"

# Runs "$@" in the tree inside the root. /proc, /dev and /tmp are mounted there
# in a mount and process namespace that ends with the command.
inside() {
  unshare --mount --pid --fork --kill-child --propagation private bash -euc '
    root=$1 && shift
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \
      LANG=C.UTF-8 bash -c "cd /src/ckptd && exec \"\$@\"" bash "$@"
  ' bash "$root" "$@"
}

commands=("deploy/quickstart.sh" "tests/run")
[[ $# -eq 0 ]] || commands=("$*")
for command in "${commands[@]}"; do
  say "running: $command"
  started=$SECONDS
  # shellcheck disable=SC2086
  inside bash -c "$command" || fail "'$command' failed with exit code $? after $((SECONDS - started)) s"
  say "passed: $command ($((SECONDS - started)) s)"
done
