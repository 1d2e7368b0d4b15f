# A kernel and a first file system for whole emulated machines. Sourced after common.bash, not run.

# In the order in which they must be loaded.
modules=(drivers/virtio/virtio_mmio drivers/block/virtio_blk lib/crc16 fs/mbcache fs/jbd2/jbd2
    crypto/crc32c_generic fs/ext4/ext4 fs/netfs/netfs fs/fscache/fscache net/9p/9pnet
    net/9p/9pnet_virtio fs/9p/9p net/core/failover drivers/net/net_failover drivers/net/virtio_net)

make_kernel() {
    local place=$cache/kernel.new package
    rm -rf "$place"
    mkdir -p "$place"
    debian deb arm64 apt-get update
    package=$(debian deb arm64 apt-cache depends linux-image-arm64 |
        awk '/Depends: linux-image/ {print $2; exit}')
    (cd "$place" && debian deb arm64 apt-get download "$package" busybox-static)
    for archive in "$place"/*.deb; do
        dpkg-deb -x "$archive" "$place"
    done
    rm "$place"/*.deb
    mv "$place" "$cache/kernel"
}

# The kernel starts it; what it does once the disk is there is each machine's own: see first_files.
make_initrd() {
    local place=$cache/initrd.new module
    rm -rf "$place"
    mkdir -p "$place"/{bin,proc,sys,dev,mnt,modules}
    cp "$cache/kernel/bin/busybox" "$place/bin/"
    for module in "${modules[@]}"; do
        cp "$cache"/kernel/lib/modules/*/kernel/"$module.ko" "$place/modules/"
    done
    {
        echo '#!/bin/busybox sh'
        echo '/bin/busybox --install -s /bin'
        echo 'mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev'
        for module in "${modules[@]}"; do
            echo "insmod /modules/$(basename "$module").ko"
        done
        echo 'until findfs LABEL=system >/dev/null; do sleep 0.1; done'
        echo 'mount -t ext4 -o ro "$(findfs LABEL=system)" /mnt'
        echo 'for place in proc sys dev; do mount --move /$place /mnt/$place; done'
        echo '. /machine'
    } >"$place/init"
    chmod +x "$place/init"
    pack "$place" >"$initrd.new"
    mv "$initrd.new" "$initrd"
    rm -r "$place"
}

pack() {
    (cd "$1" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1)
}

# first_files FOLDER: the first file system with what is in FOLDER, whose file `machine` goes on
# where the common part ends: the disk is at /mnt, read-only, with proc, sys and dev in it.
first_files() {
    cat "$initrd" # the kernel unpacks one archive after the other
    pack "$1"
}

make_disk() { # FILE ROOTFS SIZE
    mke2fs -q -t ext4 -L system -d "$2" -E no_copy_xattrs "$1.new" "$3"
    mv "$1.new" "$1"
}

fetch_machine() {
    fetch_tools
    version=$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-16)
    initrd=$cache/initrd-$version.gz
    step "$cache/kernel/boot" "an arm64 kernel from Debian $release" make_kernel
    step "$initrd" "its first file system" make_initrd
    kernel=$(echo "$cache"/kernel/boot/vmlinuz-*)
}
