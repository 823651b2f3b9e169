#!/usr/bin/env bash
# Installs what the tests need, and runs everything. A fresh Debian machine with a Rust toolchain
# is enough. Root is not needed where user namespaces are allowed, apart from installing packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$*"; }
fail() { printf 'tests/run.sh: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "as root, run: $*"
    fi
}

add_packages() { # PACKAGE...
    command -v apt-get >/dev/null || fail "install these and run again: $*"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

# What is run here, and the package that has it. `setpriv` and `unshare` are util-linux's.
step "packages"
missing=()
while read -r program package; do
    command -v "$program" >/dev/null 2>&1 || [ -x "/usr/sbin/$program" ] || missing+=("$package")
done <<'NEEDED'
conntrack conntrack
nft nftables
ip iproute2
iptables-nft iptables
script bsdutils
setpriv util-linux
unshare util-linux
valgrind valgrind
NEEDED
# A compiler may be there without the C library's headers and start files.
if ! echo 'int main(void) { return 0; }' | cc -x c - -o /dev/null 2>/dev/null; then
    missing+=(gcc libc6-dev)
fi
# libFuzzer is C++; perl is a part of every Debian.
if ! echo 'int main() { return 0; }' | c++ -x c++ - -o /dev/null 2>/dev/null; then
    missing+=(g++)
fi
[ ${#missing[@]} = 0 ] || add_packages "${missing[@]}"
export PATH="$PATH:/usr/sbin:/sbin"
for component in rustfmt clippy; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 && continue
    if command -v rustup >/dev/null; then
        rustup component add "$component"
    else
        # Debian's Rust has them in packages of their own.
        add_packages "${component/clippy/rust-clippy}"
    fi
done

step "format"
cargo fmt --check

step "clippy"
cargo clippy --locked --all-targets --all-features -- -D warnings
# Not a test that anything runs, so it is not among all targets.
cargo clippy --locked --test capture --all-features -- -D warnings
# Each feature alone, and none: what one needs must not come from another.
cargo clippy --locked --no-default-features -- -D warnings
features=$(sed -n '/^\[features\]$/,/^\[/s/^\([a-z][a-z0-9_-]*\) *=.*/\1/p' Cargo.toml)
[ -n "$features" ] || fail "no features found in Cargo.toml"
for feature in $features; do
    echo "feature $feature alone"
    cargo clippy --locked --no-default-features --features "$feature" -- -D warnings
done

step "docs"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --all-features

step "dependencies of a consumer"
# All of what a program gets that depends on this crate; a new name here is to be decided on.
allowed="bitflags bytes cfg-if convert_case ctnetlink derive_more getrandom ipnet libc log memoffset
netlink-packet-core netlink-packet-netfilter netlink-sys nix once_cell pin-project-lite proc-macro2
quote sha1_smol syn thiserror thiserror-impl tracing
tracing-core unicode-ident uuid zerocopy zerocopy-derive"
cargo tree --locked --edges normal --prefix none --format '{p}' | cut -d ' ' -f 1 | sort -u |
    while read -r crate; do
        grep -qw -- "$crate" <<<"$allowed" || fail "default features pull in $crate"
    done
echo "no crate beyond those that are known"

# The tests make network namespaces of their own, which takes root or a user namespace.
enter=()
[ "$(id -u)" = 0 ] || enter=(unshare -Urn)

step "unit and documentation tests"
"${enter[@]}" cargo test --locked --all-features --lib --test tidy
"${enter[@]}" cargo test --locked --all-features --doc

step "subcommands of ctnl"
"${enter[@]}" cargo test --locked --all-features --bin ctnl --test ctnl_tools

# Builds a target and prints its executable.
executable() {
    cargo "$@" --locked --message-format=json-render-diagnostics |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

step "kernel tests, $(uname -r)"
# Nothing that the tests do loads it where it is a module.
(as_root modprobe -q nf_nat_ftp) 2>/dev/null || true
kernel=$(executable test --all-features --no-run --test kernel) || fail "cannot build the kernel tests"
[ -x "$kernel" ] || fail "cannot build the kernel tests"
rights=$(executable test --all-features --no-run --test rights) || fail "cannot build the test of rights"
[ -x "$rights" ] || fail "cannot build the test of rights"
if [ "$(id -u)" = 0 ]; then
    "$kernel"
    "$rights"
    step "kernel tests as an unprivileged user, $(uname -r)"
    # Where that user can read it.
    public=$(mktemp -d)
    trap 'rm -rf "$public"' EXIT
    chmod 755 "$public"
    for program in "$kernel" "$rights"; do
        install -m 755 "$program" "$public/kernel"
        (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups unshare -Urn "$public/kernel")
    done
else
    unshare -Urn "$kernel"
    unshare -Urn "$rights"
fi

step "the command beside conntrack"
"${enter[@]}" cargo test --locked --all-features --test ctnl
if [ "$(id -u)" = 0 ]; then
    step "the command beside conntrack as an unprivileged user"
    # The command is built beside it, under the same name.
    twins=$(cargo test --locked --all-features --no-run --test ctnl --message-format=json-render-diagnostics |
        sed -n '/"kind":\["test"\]/s/.*"executable":"\([^"]*\)".*/\1/p') || fail "cannot build the comparison"
    command=$(executable build --all-features --bin ctnl) || fail "cannot build the command"
    [ -x "$twins" ] && [ -x "$command" ] || fail "cannot build the comparison"
    install -m 755 "$twins" "$public/twins"
    install -m 755 "$command" "$public/ctnl"
    # Of the generated lines a part.
    (cd / && CTNETLINK_TWINS_BINARY="$public/ctnl" CTNETLINK_TWINS_COUNT=400 CTNETLINK_TWINS_SEED=2 \
        setpriv --reuid=65534 --regid=65534 --clear-groups unshare -Urn "$public/twins")
fi

step "quickstart"
quickstart=$(executable build --release --example quickstart) || fail "cannot build the quickstart"
[ -x "$quickstart" ] || fail "cannot build the quickstart"
"$quickstart"
if [ "$(id -u)" = 0 ]; then
    step "quickstart as an unprivileged user"
    install -m 755 "$quickstart" "$public/quickstart"
    (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups "$public/quickstart")
fi

step "session of an agent"
agent=$(executable build --release --example agent) || fail "cannot build the agent"
[ -x "$agent" ] || fail "cannot build the agent"
"$agent"
if [ "$(id -u)" = 0 ]; then
    install -m 755 "$agent" "$public/agent"
    (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups "$public/agent")
fi

step "fuzzing, a short run"
tests/fuzz/run.sh 100000

step "benchmarks build"
cargo bench --locked --no-run

step "instructions of the codec"
cargo bench --locked --bench codec

step "kernel tests on other kernels"
# The newest one moves on with the archive: what it lacks is printed, and held only once it is known.
CTNETLINK_UNKNOWN_KERNEL=1 tests/kernels/run.sh

printf '\nall passed\n'
