#!/usr/bin/env bash
# Gets Debian kernels for boot.sh, through apt and from the mirror that this machine's apt uses.
#
#   fetch.sh [VERSION...]     5.10, 6.1, .. or `newest`; without any: 5.10 6.1 6.12 newest
#
# Each ends in $CTNETLINK_KERNELS/VERSION (default ~/.cache/ctnetlink-kernels, so that every checkout
# uses the same), as `vmlinuz`, `release` (what uname -r will say) and `modules/`. What is there
# already is left alone, but once a day the archive is asked whether `newest` still is. Root is not
# needed.
set -euo pipefail
fail() { printf 'tests/kernels/fetch.sh: %s\n' "$*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
store=${CTNETLINK_KERNELS:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/ctnetlink-kernels}
[ $# -gt 0 ] || set -- 5.10 6.1 6.12 newest
for wanted; do
    [[ $wanted =~ ^([0-9]+\.[0-9]+|newest)$ ]] ||
        fail "$wanted: a kernel is named by its first two numbers (6.1), or it is 'newest'"
done
[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || fail "needs Debian, or a relative of it, on amd64"
"$here/need.sh" xz:xz-utils zstd:zstd depmod:kmod
PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$store"
store=$(cd "$store" && pwd)
exec 9>"$store/.lock"
flock 9

there() { [ -e "$store/$1/release" ]; }
missing=()
for wanted; do
    if ! there "$wanted" || { [ "$wanted" = newest ] && [ -z "$(find "$store/newest.asked" -mmin -1440 2>/dev/null)" ]; }; then
        missing+=("$wanted")
    fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

# Without an archive, what is there does.
give_up() {
    for wanted in "${missing[@]}"; do
        there "$wanted" || fail "$*"
    done
    printf 'tests/kernels/fetch.sh: the newest kernel is as it was: %s\n' "$*" >&2
    exit 0
}
[[ " ${missing[*]} " != *" newest "* ]] || touch "$store/newest.asked"

# An apt of our own, which leaves the machine's lists and settings as they are. It has the machine's
# settings of transport (proxies, retries), but none of its hooks.
apt=$store/apt
mkdir -p "$apt"/{etc/keys,etc/apt.conf.d,etc/preferences.d,state/lists/partial,cache/archives/partial,new}
export APT_CONFIG=$apt/apt.conf
env -u APT_CONFIG apt-config dump | grep '^Acquire::' |
    grep -vE '^Acquire::(IndexTargets|CompressionTypes|Changelogs)' >"$APT_CONFIG.new" || true
cat >>"$APT_CONFIG.new" <<CONFIG
Dir::Etc "$apt/etc";
Dir::Etc::SourceList "$apt/etc/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::TrustedParts "$apt/etc/keys";
Dir::State "$apt/state";
Dir::State::Status "/dev/null";
Dir::Cache "$apt/cache";
Acquire::Languages "none";
APT::Sandbox::User "";
APT::Architecture "amd64";
APT::Architectures "amd64";
CONFIG
mv "$APT_CONFIG.new" "$APT_CONFIG"
for key in /usr/share/keyrings/debian-archive-*.{gpg,pgp} /etc/apt/trusted.gpg.d/*.{gpg,asc}; do
    # apt takes .pgp for .gpg only by its name.
    [ ! -e "$key" ] || ln -sf "$key" "$apt/etc/keys/$(basename "${key/%.pgp/.gpg}")"
done

# The mirror: whatever the machine's sources call a Debian suite, with other suites in its place.
declare -A archives=()
while read -r uri suite; do
    case $suite in
        *-security | */updates) archives[security]=${archives[security]:-$uri} ;;
        *) archives[main]=${archives[main]:-$uri} ;;
    esac
done < <(env -u APT_CONFIG apt-get indextargets --no-release-info \
    --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 'Component: main' |
    grep -E ' (oldoldstable|oldstable|stable|testing|unstable|bullseye|bookworm|trixie|forky|sid)')
[ -n "${archives[main]:-}" ] || give_up "apt's sources on this machine name no Debian suite to take the mirror from"
{
    for suite in bullseye bookworm bookworm-backports trixie trixie-backports sid; do
        echo "deb ${archives[main]} $suite main"
    done
    if [ -n "${archives[security]:-}" ]; then
        for suite in bullseye-security bookworm-security trixie-security; do
            echo "deb ${archives[security]} $suite main"
        done
    fi
} >"$apt/etc/sources.list"
# A mirror may lack a suite; what that leaves out is said below.
apt-get update -qq >"$apt/update.log" 2>&1 || true
versions=$(apt-cache madison linux-image-amd64 2>/dev/null | awk -F ' *[|] *' '{ print $2 }' | sort -uV)
[ -n "$versions" ] || give_up "the mirror offers no linux-image-amd64; see $apt/update.log"

# The packages of an image: since 7.x its modules are in one of their own.
packages_of() { # VERSION
    local package
    apt-cache show "linux-image-amd64=$1" | sed -n 's/^Depends: //p' | tr ',' '\n' |
        sed -nE 's/^ *(linux-image-[^ ]+) \(= ([^)]+)\).*/\1=\2/p' | head -n 1 |
        while read -r package; do
            echo "$package"
            apt-cache show "$package" | sed -nE 's/^(Pre-)?Depends: //p' | tr ',' '\n' |
                sed -nE 's/^ *(linux-(base|binary|modules)-[^ ]+) \(= ([^)]+)\).*/\1=\3/p'
        done
}

# The image, and the modules that have to do with networks: /lib or /usr/lib, compressed or not.
parts='^\./(boot/vmlinuz-[^/]+|(usr/)?lib/modules/[^/]+/(vmlinuz|modules\.(order|builtin[^/]*)|kernel/((net|lib|crypto|arch)/.*[^/]|drivers/net/[^/]+\.ko[^/]*)))$'
for wanted in "${missing[@]}"; do
    if [ "$wanted" = newest ]; then
        version=$(tail -n 1 <<<"$versions")
        ! there newest || [ "$(cat "$store/newest/version" 2>/dev/null)" != "$version" ] || continue
    else
        version=$(grep -E "^${wanted/./\\.}\." <<<"$versions" | tail -n 1) ||
            fail "the mirror offers no kernel $wanted, only: ${versions//$'\n'/ }; see $apt/update.log"
    fi
    mapfile -t packages < <(packages_of "$version")
    [ ${#packages[@]} -gt 0 ] || fail "linux-image-amd64 $version depends on no image"
    rm -rf "$apt/new" "$store/.new"
    mkdir -p "$apt/new" "$store/.new"
    (cd "$apt/new" && apt-get download -qq "${packages[@]}" >"$apt/download.log" 2>&1) ||
        give_up "cannot download ${packages[*]}; see $apt/download.log"
    for package in "$apt"/new/*.deb; do
        dpkg-deb --fsys-tarfile "$package" >"$apt/new/tar" || fail "cannot unpack $package"
        tar -tf "$apt/new/tar" | { grep -E "$parts" || true; } >"$apt/new/list"
        tar -xf "$apt/new/tar" -C "$store/.new" -T "$apt/new/list"
    done
    rm -rf "$apt/new"
    image=$(find "$store/.new" -name 'vmlinuz*' -type f)
    [ -n "$image" ] || fail "${packages[*]} have no vmlinuz"
    modules=$(find "$store/.new" -path '*/lib/modules/*' -prune -type d)
    [ -n "$modules" ] || fail "${packages[*]} have no modules"
    release=${modules##*/}
    # As they are loaded: not every kmod can unpack what another machine has packed.
    find "$modules" -name '*.ko.xz' -exec xz -dq {} +
    find "$modules" -name '*.ko.zst' -exec zstd -dq --rm {} +
    rm -rf "${store:?}/$wanted"
    mkdir -p "$store/$wanted/modules/lib/modules"
    mv "$image" "$store/$wanted/vmlinuz"
    mv "$modules" "$store/$wanted/modules/lib/modules/$release"
    depmod -b "$store/$wanted/modules" "$release"
    rm -rf "$store/.new"
    echo "$version" >"$store/$wanted/version"
    # Last, for it says that all is there.
    echo "$release" >"$store/$wanted/release"
    echo "$wanted: $release ($version)"
done
