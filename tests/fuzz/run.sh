#!/usr/bin/env bash
# Builds the fuzz targets with coverage and runs each: run.sh [RUNS [TARGET...]]
#
# RUNS is how many executions each target gets (200000). Any Rust toolchain and a C++ compiler will
# do: libFuzzer comes as a crate, and the coverage that it wants needs no unstable option. Inputs that
# reached something new stay in $CTNETLINK_FUZZ_CORPUS, a directory for each target, if that is set. At
# the first finding the script fails, and the input that led to it is in target/fuzz/findings.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

runs=${1:-200000}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(entry expectation stats event ack policy)

out="$root/target/fuzz"
triple=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR="$out"
# Naming the target keeps build scripts and macros free of the instruments.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build --locked --release --quiet --manifest-path "$here/Cargo.toml" --target "$triple"

# Fixtures as the decoder of a target gets them: without the netlink header, or with it.
seed() {
    local skip=16
    case $1 in event | ack) skip=0 ;; esac
    perl -e '
        my ($skip, $directory) = splice @ARGV, 0, 2;
        for my $fixture (@ARGV) {
            open my $in, "<", $fixture or die "$fixture: $!\n";
            my $bytes = pack "H*", join "", map { s/\s//gr } grep { !/^#/ } <$in>;
            my $name = $fixture =~ s,.*/([^/]+)/([^/]+)[.]hex$,$1-$2,r;
            open my $out, ">", "$directory/$name" or die "$name: $!\n";
            print $out substr $bytes, $skip;
        }' "$skip" "$2" "$root"/tests/fixtures/*/*.hex
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for target in "${targets[@]}"; do
    corpus=${CTNETLINK_FUZZ_CORPUS:-$work/corpus}/$target
    seeds=$work/seeds/$target
    mkdir -p "$corpus" "$seeds" "$out/findings"
    seed "$target" "$seeds"
    log="$out/$target.log"
    if ! "$out/$triple/release/$target" -runs="$runs" -max_len=4096 -timeout=10 -rss_limit_mb=512 \
        -malloc_limit_mb=64 -seed=1 -print_final_stats=1 \
        -artifact_prefix="$out/findings/$target-" "$corpus" "$seeds" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "tests/fuzz/run.sh: $target: a finding; see $out/findings" >&2
        exit 1
    fi
    printf 'fuzz %s: %s\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions, $(
        sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1) edges"
done
