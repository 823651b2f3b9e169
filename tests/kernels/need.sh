#!/usr/bin/env bash
# Installs what is missing of PROGRAM:PACKAGE...
set -euo pipefail
fail() { printf 'tests/kernels/need.sh: %s\n' "$*" >&2; exit 1; }

packages=()
for pair; do
    program=${pair%%:*}
    command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || packages+=("${pair#*:}")
done
[ ${#packages[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || fail "install these and run again: ${packages[*]}"
root=()
[ "$(id -u)" = 0 ] || root=(sudo)
command -v "${root[0]:-env}" >/dev/null || fail "as root, run: apt-get install ${packages[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{ "${root[@]}" apt-get update -qq &&
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"; } \
    >"$log" 2>&1 || fail "cannot install ${packages[*]}: $(tail -n 3 "$log")"
