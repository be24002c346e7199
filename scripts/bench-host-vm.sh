#!/bin/busybox sh
# shellcheck shell=dash
# /init of the machine of scripts/bench-host: binds all NVMe devices to vfio-pci and runs the
# benches that need devices.
/bin/busybox mkdir -p /usr/bin /sbin /usr/sbin
/bin/busybox --install -s /bin
export PATH=/bin LD_LIBRARY_PATH=/lib
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm

set --
for path in /sys/bus/pci/devices/*; do
    [ "$(cat "$path/class")" = 0x010802 ] || continue
    device=${path##*/}
    echo vfio-pci >"$path/driver_override"
    [ ! -e "$path/driver" ] || echo "$device" >"$path/driver/unbind"
    echo "$device" >/sys/bus/pci/drivers_probe
    set -- "$@" --device "$device"
done
echo 300 >/proc/sys/vm/nr_hugepages
repeat=3
for word in $(cat /proc/cmdline); do
    case $word in repeat=*) repeat=${word#repeat=} ;; esac
done

# measure NAME ARGUMENT...
measure() {
    name=$1
    shift
    object=$(vfioboost "$@" --json) || {
        echo "vfioboost $* failed"
        poweroff -f
    }
    echo "JSON $name $object"
}
first=$2
for backend in type1 iommufd; do
    for pages in 4k 2m; do
        measure "run_${backend}_$pages" run --memory 512M --page-size $pages --backend $backend \
            --mode vmm,boost --repeat "$repeat" "$@"
    done
    measure "open_$backend" bench open --backend $backend --repeat "$repeat" "$@"
    measure "close_$backend" bench close --backend $backend --repeat "$repeat" "$@"
    measure "starts_$backend" bench starts --backend $backend --guests 8 --memory 16M \
        --page-size 4k --repeat "$repeat" "$@"
done
measure map bench map --memory 128M --repeat "$repeat" --device "$first"
echo "bench-host: done"
poweroff -f
