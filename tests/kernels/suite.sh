#!/bin/sh
# What run.sh runs in the machine: the tests of tests/kernel and tests/rights.rs, as root and as an
# unprivileged user in a user namespace of its own, and those that want a machine for themselves,
# which are ignored elsewhere. A line `== ..` begins each run, and one ends it.
tests=/tests/kernel
failed=0

# uname says of Debian's kernels which sources they were built from only among other words.
version=$(uname -v | sed -nE 's/.* Debian ([0-9.]+).*/\1/p')
echo "== version ${version:-$(uname -r)}"

run() { # USER COMMAND...
    user=$1
    shift
    since=$(cut -d . -f 1 /proc/uptime)
    echo "== begin $user"
    "$@" || failed=1
    echo "== end $user $(($(cut -d . -f 1 /proc/uptime) - since))"
}
# It has no test harness, and so no line of a result: it ends well, or what it says is a failure.
rights() { # COMMAND...
    "$@" /tests/rights || { failed=1; echo "== rights failed: $*"; }
}
chmod 755 /tests /tests/*
# nftables' `ct helper` does not ask for the part of a helper that translates.
modprobe nf_nat_ftp
# Every list walks all buckets, which takes most of the time here. A test fills the table, and
# others need 20000 entries.
echo 8192 >/proc/sys/net/netfilter/nf_conntrack_buckets
echo 25000 >/proc/sys/net/netfilter/nf_conntrack_max
cd /
run root "$tests" "$@"
rights
nobody="setpriv --reuid=65534 --regid=65534 --clear-groups unshare -Urn"
# Without words, those that rights matter to; the rest runs as nobody on the host.
mine='probe capabilities handle:: netns:: settings:: errors:: deleting::'
[ $# -gt 0 ] && mine=$*
# shellcheck disable=SC2086
run user $nobody "$tests" $mine
rights $nobody
# Alone and one by one: what concerns all namespaces of the machine.
run machine "$tests" --ignored --show-output --test-threads=1 "$@"
exit "$failed"
