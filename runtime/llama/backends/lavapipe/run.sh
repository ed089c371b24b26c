#!/usr/bin/env bash
# run.sh COMMAND... runs a command on a Vulkan device that is made of software, Mesa's lavapipe: in a Debian of its own,
# since few versions of Mesa work (25 with LLVM 19 does; 22.3 corrupts its heap, and with LLVM 15 a shader takes minutes).
# The Debian is made once, in a folder of the user's cache. The command sees the project and FOLDERS at their own paths.
#
# Needs root, and for the first run debootstrap and a mirror of Debian, which is that of apt, or DEBIAN_MIRROR. Where one of
# these is missing it says so and ends with code 77.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/../../../.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/lorikeet-test
RELEASE=trixie
PACKAGES=mesa-vulkan-drivers,libvulkan1
DEBIAN=$CACHE/lavapipe-$RELEASE-$(uname -m)

missing() {
  printf 'no lavapipe: %s\n' "$*" >&2
  exit 77
}

# mirror prints where apt of this machine has Debian from.
mirror() {
  if [ -n "${DEBIAN_MIRROR:-}" ]; then
    echo "$DEBIAN_MIRROR"
  else
    apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
      awk '$1 == "Debian" && $2 == "main" && $3 !~ /-/ && !found { print $4; found = 1 }'
  fi
}

install() {
  local from log=$CACHE/debootstrap.log
  command -v debootstrap >/dev/null || missing "debootstrap is not installed: apt-get install debootstrap"
  from=$(mirror)
  if [ -z "$from" ]; then
    apt-get update -qq >/dev/null 2>&1 || true # without the lists apt does not know whose they are
    from=$(mirror)
  fi
  [ -n "$from" ] || missing "apt names no mirror of Debian: set DEBIAN_MIRROR to one"
  echo "installing Mesa of Debian $RELEASE into $DEBIAN, once"
  rm -rf "$DEBIAN.new"
  debootstrap --variant=minbase --include="$PACKAGES" "$RELEASE" "$DEBIAN.new" "$from" >"$log" 2>&1 ||
    missing "debootstrap failed: $(tail -n 1 "$log") ($log has all)"
  mv "$DEBIAN.new" "$DEBIAN"
}

[ "$(id -u)" = 0 ] || missing "only root can use the Debian that it runs in"
mkdir -p "$CACHE/shaders"
exec 9>"$DEBIAN.lock"
flock 9
[ -d "$DEBIAN" ] || install
exec 9>&-

export DEBIAN FOLDERS="$ROOT $CACHE/shaders ${FOLDERS:-}" DIRECTORY=$PWD
# The shaders are kept: to compile one takes seconds. Devices of software are used only where they are named, and shaders of
# F16 would round the gradients of training. The driver computes on one thread: with two, one and the same product of two small
# matrices of floats, with nothing else in the queue, has other results from run to run.
export GGML_VK_VISIBLE_DEVICES=0 GGML_VK_DISABLE_F16=1 LP_NUM_THREADS=1 MESA_SHADER_CACHE_DIR=$CACHE/shaders
# The mounts are those of the namespace alone, which ends with the command, however that ends.
exec unshare --mount --pid --fork --kill-child bash -c '
  set -e
  mount -t tmpfs tmpfs "$DEBIAN/tmp"
  for folder in $FOLDERS; do
    mkdir -p "$DEBIAN$folder"
    mount --bind "$folder" "$DEBIAN$folder"
  done
  mount -t proc proc "$DEBIAN/proc"
  mount --rbind /dev "$DEBIAN/dev"
  export HOME=/tmp TMPDIR=/tmp GOTMPDIR=/tmp PATH=/usr/sbin:/usr/bin:/sbin:/bin
  exec chroot "$DEBIAN" sh -c "cd \"$DIRECTORY\" && \"\$@\"; exit \$?" sh "$@"
' bash "$@"
