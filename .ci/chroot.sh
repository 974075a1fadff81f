# chroot.sh - sourced by what runs in a Debian of its own: a chroot that debootstrap makes
# once and that is kept in ~/.cache/mako-snapshot/SUITE, or where MAKO_SUITE says; remove
# that directory to begin again.  Where it cannot be had, that is said, and counts as
# neither passed nor failed.
#
# The caller sets name (its own), suite, packages (to install in it), source (what it shows
# as /src) and log, perhaps prepare (a command to run in it once), and calls chroot_ready;
# then it may use within.
# shellcheck shell=bash
# shellcheck disable=SC2154

variable=MAKO_${suite^^}
root=${!variable:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/mako-snapshot/$suite}
variable+=_MIRROR
mirror=${!variable:-http://deb.debian.org/debian}

say() { printf '== %s\n' "$*" >&2; }
skip() {
    tail -n 5 "$log" >&2
    printf '\n*** SKIPPED: %s: %s ***\n\n' "$name" "$*"
    echo "0 passed, 0 failed"
    exit 0
}

# within COMMAND...: in the chroot, with mounts that end with it; /src read-only.  With
# scratch=1 what it changes is forgotten; status 125: the mounts are not allowed.
within() {
    # shellcheck disable=SC2016 # for the inner shell
    unshare --mount --propagation private bash -c '
        root=$1 source=$2 scratch=$3
        shift 3
        if [ -n "$scratch" ]; then
            lower=$root root=$scratch/root
            mount -t tmpfs tmpfs "$scratch" && mkdir "$root" "$scratch/new" "$scratch/work" &&
                mount -t overlay -o "lowerdir=$lower,upperdir=$scratch/new,workdir=$scratch/work" \
                    overlay "$root" || exit 125
        else
            mount --rbind "$root" "$root" || exit 125
        fi
        mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" &&
            mount --bind "$source" "$root/src" &&
            mount -o remount,bind,ro "$root/src" || exit 125
        exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
            LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive TMPDIR=/tmp "$@"' \
        _ "$root" "$source" "${scratch-}" "$@" </dev/null
}

# Make it where it is not there yet.
chroot_ready() {
    [ "$(id -u)" -eq 0 ] || skip "only root can set up a chroot"
    if ! command -v debootstrap >/dev/null; then
        apt-get -qq -o DPkg::Lock::Timeout=300 install -y \
            --no-install-recommends debootstrap >"$log" 2>&1 ||
            skip "debootstrap is not installed"
    fi
    unshare --mount true 2>"$log" || skip "no mount namespaces here"
    if [ ! -e "$root/.complete" ]; then
        chroot_make
    fi
    [ -d "$root/src" ] || skip "$root is not ours"
}

chroot_make() {
    local scratch=''
    say "making a Debian ($suite) in $root"
    rm -rf --one-file-system "$root"
    mkdir -p "$root" || skip "cannot make $root"
    timeout 300 debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$log" 2>&1 ||
        skip "debootstrap failed"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    mkdir -p "$root/src" "$root/build"
    within apt-get -qq install -y --no-install-recommends "${packages[@]}" >"$log" 2>&1 ||
        skip "its packages cannot be installed"
    within apt-get clean
    if [ -n "${prepare-}" ]; then
        within "${prepare[@]}" >"$log" 2>&1 || skip "${prepare[*]} failed"
    fi
    touch "$root/.complete"
}
