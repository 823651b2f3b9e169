#!/usr/bin/env bash
# Boots a kernel that fetch.sh got, in qemu's software emulation, runs a program in it as root, prints
# what it prints, and ends with its exit status.
#
#   boot.sh [OPTION...] KERNEL PROGRAM [ARGUMENT...]
#
#   KERNEL        as fetch.sh calls it: 5.10, 6.1, .. or newest; it is fetched if it is not there
#   PROGRAM       a file of this machine: a static executable, a script for sh, or a
#                 dynamic executable, whose shared libraries then go with it
#   -w PROGRAM    takes a program along, with its shared libraries, to where it is here (-w nft)
#   -f FILE[:TO]  takes a file or directory along, to the path TO (default: to where it is here)
#   -e NAME=VALUE sets a variable of the environment
#   -o DIRECTORY  brings here what the program leaves in /out
#   -d DIRECTORY  runs the program in this directory, which is made if nothing brings it
#   -m MIB        memory, default 2048: with less than a GiB conntrack has a small table
#   -c CPUS       default 2
#   -a WORDS      adds to the kernel's command line
#   -t SECONDS    gives up after so long, default 900
#
# Exit status: the program's; 125 if the machine did not come to its end (what its kernel said last is
# then on standard error), 2 for wrong usage.
set -euo pipefail
fail() { printf 'tests/kernels/boot.sh: %s\n' "$*" >&2; exit 125; }
usage() { printf 'tests/kernels/boot.sh: %s\n' "$*" >&2; exit 2; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
store=${CTNETLINK_KERNELS:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/ctnetlink-kernels}
programs=() files=() variables=() out='' directory=/ memory=2048 cpus=2 append='' seconds=900
while getopts w:f:e:o:d:m:c:a:t: option; do
    case $option in
        w) programs+=("$OPTARG") ;;
        f) files+=("$OPTARG") ;;
        e) [[ $OPTARG =~ ^[A-Za-z_][A-Za-z_0-9]*= ]] || usage "-e $OPTARG: NAME=VALUE is expected"
            variables+=("$OPTARG") ;;
        o) out=$OPTARG ;;
        d) directory=$OPTARG ;;
        m) memory=$OPTARG ;;
        c) cpus=$OPTARG ;;
        a) append=$OPTARG ;;
        t) seconds=$OPTARG ;;
        *) usage "see the head of ${BASH_SOURCE[0]}" ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || usage "needs a kernel and a program; see the head of ${BASH_SOURCE[0]}"
kernel=$1 program=$2
shift 2
for number in "$memory" "$cpus" "$seconds"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || usage "$number: a whole number above zero is expected"
done
[ -f "$program" ] || usage "$program: there is no such program"

PATH=$PATH:/usr/sbin:/sbin
"$here/need.sh" qemu-system-x86_64:qemu-system-x86 cpio:cpio busybox:busybox-static modprobe:kmod
"$here/fetch.sh" "$kernel" >&2
kernel=$(cd "$store/$kernel" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pack() { # DIRECTORY
    (cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
        cpio --quiet -0 -o -H newc -R 0:0)
}

put() { # FILE TO
    local to=/${2#/}
    # /bin and its like are links there, as they are here.
    [[ ! $to =~ ^/(bin|sbin|lib|lib64)/ ]] || to=/usr$to
    mkdir -p "$root$(dirname "$to")"
    cp -rL "$1" "$root$to"
}
put_program() { # FILE TO
    put "$1" "$2"
    { ldd "$1" 2>/dev/null || true; } | sed -nE 's,^[^/]*(/[^ ]+) .*,\1,p' | while read -r library; do
        put "$library" "$library"
    done
}
# What does not change from run to run, made once for a kernel: busybox, the modules, init.
base=$kernel/base.cpio
exec 9>"$kernel/.lock"
flock 9
if [ ! -e "$base" ] || [ "$here/boot.sh" -nt "$base" ] || [ "$here/init" -nt "$base" ] ||
    [ "$kernel/release" -nt "$base" ]; then
    root=$work/base
    modules=lib/modules/$(cat "$kernel/release")
    mkdir -p "$root"/{dev,proc,sys,run,tmp,out,root,etc,usr/{bin,sbin,lib,lib64,"$modules"}}
    for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
    busybox=$(command -v busybox)
    ! ldd "$busybox" >/dev/null 2>&1 || fail "$busybox is not static: busybox-static is needed"
    install -m 755 "$busybox" "$root/usr/bin/busybox"
    # Not busybox's sh: it prefers its own programs to those that were taken along.
    put_program "$(command -v sh)" /bin/sh
    # The kernel calls it for what it lacks. Not busybox's: that does not wait for a module that
    # another is loading, and so its caller goes on without what it asked for.
    put_program "$(command -v modprobe)" /sbin/modprobe
    install -m 755 "$here/init" "$root/init"
    printf '%s\n' root:x:0:0::/root:/bin/sh nobody:x:65534:65534::/:/bin/sh >"$root/etc/passwd"
    printf '%s\n' root:x:0: nogroup:x:65534: >"$root/etc/group"
    cp "$kernel/modules/$modules"/modules.{dep,alias,symbols,softdep,builtin}* "$root/usr/$modules/"
    # Those of IP, with all that they need.
    awk -F '[: ]+' '
        { needs[$1] = $0 }
        $1 ~ "^kernel/(net/(netfilter|ipv4|ipv6|bridge|sctp|dccp|core|sched|key|xfrm)/|(crypto|arch/x86/crypto)/(crc32c|hmac|md5|sha)|lib/ts_|drivers/net/(veth|dummy|ifb|vrf|tun|macvlan|vxlan/vxlan|gre|geneve)\\.)" {
            wanted[++count] = $1
        }
        END {
            for (at = 1; at <= count; at++) {
                words = split(needs[wanted[at]], name, "[: ]+")
                for (word = 1; word <= words; word++) if (name[word] != "") seen[name[word]]
            }
            for (module in seen) print module
        }' "$kernel/modules/$modules/modules.dep" |
        (cd "$kernel/modules/$modules" && cpio --quiet -pd "$root/usr/$modules")
    pack "$root" >"$base.new"
    mv "$base.new" "$base"
fi
flock -u 9

# What goes with this run. A second archive lays itself over the first.
root=$work/root
mkdir -p "$root/usr"
put_program "$program" /program
chmod 755 "$root/program"
for name in ${programs[@]+"${programs[@]}"}; do
    file=$(command -v "$name") || fail "-w $name: there is no such program here"
    put_program "$file" "$file"
done
for file in ${files[@]+"${files[@]}"}; do
    [ -e "${file%%:*}" ] || fail "-f ${file%%:*}: there is no such file"
    from=$(realpath -s "${file%%:*}")
    to=$from
    [[ $file != *:* ]] || to=${file#*:}
    put "$from" "$to"
done
mkdir -p "$root/$directory"
{
    for variable in ${variables[@]+"${variables[@]}"}; do
        value=${variable#*=}
        echo "export ${variable%%=*}=${value@Q}"
    done
    echo "cd ${directory@Q}"
    echo "exec /program ${*@Q}"
} >"$root/command"
{ cat "$base"; pack "$root"; } >"$work/initrd"

# Consoles: the kernel's own, the program's output, and a line by which files come back.
status=0
timeout --foreground "$seconds" qemu-system-x86_64 \
    -nodefaults -no-user-config -display none -no-reboot \
    -machine pc,accel=tcg -cpu max -smp "$cpus" -m "$memory" \
    -kernel "$kernel/vmlinuz" -initrd "$work/initrd" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off $append" \
    -chardev "file,id=console,path=$work/console" -serial chardev:console \
    -chardev stdio,id=output,signal=on -serial chardev:output \
    -chardev "file,id=back,path=$work/back" -device pci-serial,chardev=back \
    </dev/null 2>"$work/qemu" || status=$?
if [ ! -s "$work/back" ] || ! tar -xf "$work/back" -C "$work" status out 2>"$work/tar"; then
    {
        echo "--- the end of what the kernel $(cat "$kernel/release") said"
        tail -n 30 "$work/console" 2>/dev/null || true
        cat "$work/qemu" "$work/tar" 2>/dev/null || true
    } >&2
    [ "$status" != 124 ] || fail "not done after $seconds s"
    fail "the machine ended before its program did"
fi
if [ -n "$out" ]; then
    mkdir -p "$out"
    cp -r "$work/out/." "$out/"
fi
exit "$(cat "$work/status")"
