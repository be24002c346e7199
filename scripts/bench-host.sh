#!/bin/busybox sh
# shellcheck shell=dash
# What scripts/bench-host packs runs this on the host that is measured.
here=$(dirname "$0")
busybox=$here/bin/busybox
memory='' repeat=3 json=bench-host.json vm=false

usage() {
    cat <<'END'
Usage: sh bench-host.run [--memory SIZE] [--repeat N] [--json FILE] [--vm]

Measures this host: populating memory of every kind of page that it has, with one
thread and with one for each CPU, quietly and beside a thread that maps and unmaps
memory, compared with memset() on every CPU; translations; events. Nothing is
installed or changed. Huge pages are used if there are some in the pools.

  --memory SIZE  memory to populate, like 4G (default: a quarter of what is free,
                 at most 8G)
  --repeat N     runs of each, of which medians are printed (default: 3)
  --json FILE    everything as one JSON object (default: bench-host.json)
  --vm           also starts, maps, opening and closing of emulated devices, in a
                 machine with as many emulated CPUs as the host has, up to 64; only
                 if the file was made with --vm

It is unpacked to $TMPDIR, by default /tmp, which must allow programs to run, and
removed at the end.
END
}

die() {
    echo "bench-host: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
    --memory | --repeat | --json)
        [ $# -gt 1 ] || die "$1 needs a value"
        case $1 in --memory) memory=$2 ;; --repeat) repeat=$2 ;; *) json=$2 ;; esac
        shift
        ;;
    --vm) vm=true ;;
    -h | --help)
        usage
        exit
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
    shift
done
! "$vm" || [ -d "$here/vm" ] || die "this file has no machine: make it with scripts/bench-host --vm"

# Before all is measured.
true >>"$json" || exit 1

bench() {
    "$here/lib/ld-linux-x86-64.so.2" --library-path "$here/lib" "$here/bin/vfioboost" bench "$@"
}

field() { "$busybox" sed -nE "s/^$1:? +([0-9]+) kB.*/\1/p" /proc/meminfo; }

if [ -z "$memory" ]; then
    mib=$(($(field MemAvailable) / 4096))
    [ "$mib" -le 8192 ] || mib=8192
    memory=${mib}M
fi
cpus=$("$busybox" nproc)
threads=1
[ "$cpus" -lt 8 ] || threads=1,$((cpus / 4))
[ "$cpus" -lt 2 ] || threads=$threads,$cpus
results=$here/results
mkdir "$results" || exit

# measure NAME ARGUMENT...: the JSON of a bench.
measure() {
    name=$1
    shift
    echo "bench-host: $name" >&2
    bench "$@" --json >"$results/$name" || die "bench $* failed"
}

measure populate populate --memory "$memory" --repeat "$repeat" --threads "$threads"
measure populate_beside populate --memory "$memory" --repeat "$repeat" --threads "$threads" --stalls
measure populate_memfd populate --memory "$memory" --repeat "$repeat" --threads "$threads" --memfd
measure populate_memfd_beside populate --memory "$memory" --repeat "$repeat" --threads "$threads" --memfd --stalls
measure beside beside --memory "$memory" --repeat "$repeat"
measure translate translate --repeat "$repeat"
measure events events --repeat "$repeat"

# The machine prints "JSON NAME OBJECT" for each of its benches.
run_machine() {
    emulated=$cpus
    [ "$emulated" -le 64 ] || emulated=64
    devices='' i=0
    while [ $i -lt 8 ]; do
        i=$((i + 1))
        devices="$devices -device pcie-root-port,id=port$i,chassis=$i,slot=$i,hotplug=off"
        devices="$devices -device nvme,serial=nvme$i,bus=port$i"
    done
    echo "bench-host: a machine with $emulated emulated CPUs" >&2
    # shellcheck disable=SC2086 # words
    QEMU_MODULE_DIR=$here/vm/modules "$busybox" timeout 1800 \
        "$here/vm/lib/ld-linux-x86-64.so.2" --library-path "$here/vm/lib" "$here/vm/qemu" \
        -L "$here/vm/share" -machine q35,kernel-irqchip=split -accel tcg,thread=multi -cpu max \
        -smp "$emulated" -m 8G -nographic -nodefaults -serial stdio -no-reboot \
        -device intel-iommu,intremap=on,caching-mode=on,device-iotlb=on $devices \
        -kernel "$here/vm/kernel" -initrd "$here/vm/initramfs" \
        -append "console=ttyS0 intel_iommu=on panic=-1 quiet no_timer_check tsc=reliable repeat=$repeat" \
        </dev/null | "$busybox" tr -d '\r' | "$busybox" tee "$here/machine.log" |
        "$busybox" sed -nE 's/^JSON ([a-z0-9_]+) .*/bench-host: machine: \1/p' >&2
    "$busybox" grep -q '^bench-host: done' "$here/machine.log" || {
        "$busybox" tail -n 20 "$here/machine.log" >&2
        die "the machine failed"
    }
    "$busybox" sed -nE 's/^JSON ([a-z0-9_]+) (.*)/\1 \2/p' "$here/machine.log" |
        while read -r name object; do
            echo "$object" >"$results/vm_$name"
        done
}
! "$vm" || run_machine

# ---- Printing ----

{
    model=$("$busybox" sed -nE 's/^model name[^:]*: *(.*)/\1/p' /proc/cpuinfo | head -n 1 |
        "$busybox" tr -d '"')
    nodes=$(echo /sys/devices/system/node/node[0-9]* | "$busybox" wc -w)
    printf '{"schema":1,"kernel":"%s","cpu":"%s","cpus":%s,"nodes":%s,"memory_bytes":%s' \
        "$("$busybox" uname -r)" "$model" "$cpus" "$nodes" "$(($(field MemTotal) * 1024))"
    for file in "$results"/*; do
        printf ',"%s":%s' "${file##*/}" "$(cat "$file")"
    done
    echo '}'
} >"$json" || exit

# number KEY: its values in the JSON that is read, one per line, without quotes.
number() { "$busybox" grep -oE "\"$1\": ?\"?[^,\"}]+" | "$busybox" sed -E 's/^[^:]*: ?"?//'; }
column() { number "$2" <"$results/$1"; }

# populated NAME KIND: the lines of two benches.
populated() {
    columns=
    for key in page_size threads bytes_per_s of_limit; do
        column "$1" $key >"$results.$key"
        columns="$columns $results.$key"
    done
    for key in bytes_per_s longest_wait_s longest_wait_of_memset_s; do
        column "$1_beside" $key >"$results.beside_$key"
        columns="$columns $results.beside_$key"
    done
    # shellcheck disable=SC2016,SC2086 # awk, words
    "$busybox" paste $columns | "$busybox" awk -v kind="$2" -v gib=1073741824 '{
        printf "%-9s  %-5s %7s %8.2f %9.2f %8.2f %7.2f %9.1f ms %9.1f ms\n", kind, $1, $2,
            $3 / gib, $4, $5 / gib, $5 / $3, $6 * 1000, $7 * 1000
    }'
}

# The nanoseconds of a key.
# shellcheck disable=SC2016 # awk
ns() { column "$1" "$2" | "$busybox" awk '{ printf "%.1f ns\n", $1; exit }'; }

echo "$("$busybox" uname -r), $cpus CPUs, $memory of memory; in $json is more"
echo
printf '%-9s  %-5s %7s %8s %9s %8s %7s %12s %12s\n' populate pages threads GiB/s 'of memset' \
    beside ratio 'longest wait' 'of memset()'
populated populate anonymous
populated populate_memfd memfd
echo
printf '%-12s %8s %8s %7s %10s\n' 'by all CPUs' GiB/s beside ratio 'maps/s'
columns=
for key in way quiet_bytes_per_s beside_bytes_per_s beside_of_quiet maps_per_s; do
    column beside $key >"$results.$key"
    columns="$columns $results.$key"
done
# shellcheck disable=SC2016,SC2086 # awk, words
"$busybox" paste $columns | "$busybox" awk -v gib=1073741824 '{
    printf "%-12s %8.2f %8.2f %7.2f %10d\n", $1, $2 / gib, $3 / gib, $4, $5
}'
cat <<END

threads    populating; "of memset": memset() on every CPU is 1
beside     GiB/s while another thread maps and unmaps a page, and its longest wait, compared with
           its longest wait while memset() fills the memory

translating an address                $(ns translate reader_ns)
  beside a thread that changes maps   $(ns translate reader_beside_writer_ns)
an event without subscribers          $(ns events point_ns)
an event that is counted              $(ns events counted_ns)
END
"$vm" || exit 0

echo
echo "In a machine with as many emulated CPUs, up to 64; seconds, medians:"
for backend in type1 iommufd; do
    for pages in 4k 2m; do
        # shellcheck disable=SC2046 # words
        set -- $(column "vm_run_${backend}_$pages" start_s)
        echo "start, $backend, 512 MiB of $pages: as the best VMMs do $1, boost $2"
    done
    echo "open 8 devices, $backend: in parallel $(column "vm_open_$backend" parallel_s)," \
        "one after another $(column "vm_open_$backend" serial_s)"
done
