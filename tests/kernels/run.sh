#!/usr/bin/env bash
# Runs all of tests/kernel and tests/rights.rs on other kernels as root, a part of it as an unprivileged user
# of each, and then those that want a machine for themselves.
#
#   run.sh [KERNEL...]        as fetch.sh calls them; without any: 5.10 6.1 6.12 newest
#
# A line for each kernel, with the sum and the parts of its three runs:
#
#   kernel 6.1.192: 332 passed, 0 failed (root 165, user 165, machine 2), 190 s
#
# and what a kernel lacks that the tests do not know yet. If anything fails, what the tests said follows, and the exit status is 1. All that each kernel's
# run printed stays in $CTNETLINK_KERNELS/KERNEL/tests.log.
#
#   CTNETLINK_JOBS     how many machines run at a time (default: as many as processors)
#   CTNETLINK_TESTS    words for the test program, such as the names of the tests to be run
set -euo pipefail
fail() { printf 'tests/kernels/run.sh: %s\n' "$*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
store=${CTNETLINK_KERNELS:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/ctnetlink-kernels}
[ $# -gt 0 ] || set -- 5.10 6.1 6.12 newest
jobs=${CTNETLINK_JOBS:-$(nproc)}
read -ra words <<<"${CTNETLINK_TESTS:-}"

# What the tests call, and the package that has it.
PATH=$PATH:/usr/sbin:/sbin
"$here/need.sh" conntrack:conntrack nft:nftables ip:iproute2 iptables-nft:iptables \
    setpriv:util-linux unshare:util-linux qemu-system-x86_64:qemu-system-x86 cpio:cpio \
    busybox:busybox-static xz:xz-utils zstd:zstd depmod:kmod
"$here/fetch.sh" "$@"

# Once for all kernels, with the C library of this machine in it. It has a target directory of its
# own, for the flags would have everything else built anew. Optimised a little: emulated, the tests'
# own work would take longer than the kernel's.
triple=$(rustc -vV | sed -n 's/^host: //p')
built=$(cd "$project" && CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_TEST_OPT_LEVEL=1 RUSTFLAGS="-C target-feature=+crt-static" cargo test --locked --no-run \
    --target "$triple" --target-dir target/static --test kernel --test rights --all-features \
    --message-format=json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
tests=$(grep '/kernel-[0-9a-f]*$' <<<"$built") || fail "cannot build the kernel tests"
rights=$(grep '/rights-[0-9a-f]*$' <<<"$built") || fail "cannot build the test of rights"
# Most of it tells a debugger where it is.
stripped=$(mktemp -d)
trap 'rm -rf "$stripped"' EXIT
strip -o "$stripped/kernel" "$tests" 2>/dev/null || cp "$tests" "$stripped/kernel"
strip -o "$stripped/rights" "$rights" 2>/dev/null || cp "$rights" "$stripped/rights"

# iptables opens its extensions when it needs them, so no list of libraries has them.
extensions=()
for name in libxt_CT libxt_udp libxt_standard; do
    for file in /usr/lib/*/xtables/$name.so; do
        [ ! -e "$file" ] || extensions+=(-f "$file")
    done
done

# Some kernels panic now and then while they begin, in emulation (7.3 in `sched_clock_cpu`, patching its
# own code). A machine that ends before it runs a test says nothing of them, and is booted again, twice
# at most.
run() { # KERNEL
    local boots=1
    boot "$1"
    while ! grep -q '^== begin' "$store/$1/tests.log" && [ $((boots++)) -lt 3 ]; do
        echo "kernel $1: the machine ended before the first test; booted again"
        cp "$store/$1/tests.log" "$store/$1/boot-failed.log"
        boot "$1"
    done
}

boot() { # KERNEL
    local status=0
    "$here/boot.sh" -f "$stripped/kernel:/tests/kernel" -f "$stripped/rights:/tests/rights" \
        -w conntrack -w nft -w ip -w iptables-nft -w ip6tables-nft -w setpriv -w unshare "${extensions[@]}" \
        -t 1800 -e "CTNETLINK_UNKNOWN_KERNEL=${CTNETLINK_UNKNOWN_KERNEL:-}" -e RUST_BACKTRACE=0 \
        "$1" "$here/suite.sh" ${words[@]+"${words[@]}"} >"$store/$1/tests.log" 2>&1 || status=$?
    echo "$status" >"$store/$1/tests.status"
}

# One line, what is new of an unknown kernel, and what failed. Without CTNETLINK_TESTS nothing may be
# left out.
report() { # KERNEL
    local log=$store/$1/tests.log status line
    status=$(cat "$store/$1/tests.status")
    line=$(tr -d '\r' <"$log" | awk -v kernel="$1" '
        function part(text) { parts = parts (parts == "" ? "" : ", ") user " " text; user = "" }
        $1 == "==" && $2 == "version" { kernel = $3 }
        $1 == "==" && $2 == "begin" { user = $3; result = "did not end" }
        /^test result:/ && user != "" {
            result = $4
            passed += $4
            failed += $6
            # The ignored ones are those that have a run of their own.
            if (user == "root") left += $12
        }
        $1 == "==" && $2 == "rights" { failed++ }
        $1 == "==" && $2 == "end" { part(result); seconds += $4 }
        END {
            if (user != "") part("did not end")
            printf "kernel %s: %d passed, %d failed%s (%s), %d s\n", kernel, passed, failed,
                left ? ", " left " left out" : "", parts == "" ? "did not begin" : parts, seconds
        }')
    echo "$line"
    # Told by each user's run.
    tr -d '\r' <"$log" | sed -n 's/.*\(== unknown kernel .*\)/\1/p' | awk '!said[$0]++'
    if [ ${#words[@]} = 0 ] && [ "$status" = 0 ]; then
        local some='[1-9][0-9]*'
        [[ $line =~ ": "$some" passed, 0 failed (root "$some", user "$some", machine "$some"), " ]] ||
            status=125
    fi
    [ "$status" != 0 ] || return 0
    printf -- '--- kernel %s: exit status %s\n' "$1" "$status"
    # Whatever is neither a test that passed nor a blank line.
    tr -d '\r' <"$log" | grep -vE '^test .* \.\.\. ok$|^$' || true
    return 1
}

echo "test program: ${tests#"$project"/}"
failed=0
for kernel; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
    run "$kernel" &
done
wait
for kernel; do
    report "$kernel" || failed=1
done
exit "$failed"
