# What every emulation needs, fetched once into a cache folder. Sourced, not run.
#
# Needs no root, and nothing of the machine but Debian's apt-get and dpkg-deb and a compiler: they
# fetch and unpack packages of another architecture and release without touching what is installed.
# QEMU is fetched too, so that every machine counts with the same one.
#
# Where the network does not answer, a script ends with exit code 75 after one line that begins with
# "emulation: not run:".

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/edgellm/emulation
release=bookworm # its qemu-user is the last that loads plugins
python=3.11      # of that release
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# need PROGRAM PACKAGE ...: stop with the command that installs what is missing.
need() {
    local packages=()
    while (($#)); do
        command -v "$1" >/dev/null || [ -e "$1" ] || packages+=("$2")
        shift 2
    done
    ((${#packages[@]} == 0)) && return
    echo "$(basename "$0"): needs Debian packages: sudo apt-get install ${packages[*]}" >&2
    exit 2
}

# step FILE DESCRIPTION COMMAND ...: make FILE unless it is there; once, however many scripts ask.
step() {
    local reason
    [ -e "$1" ] && return
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    [ -e "$1" ] && exec 9>&- && return
    echo "  $2" >&2
    # Not beside "||" or "&&", where bash goes on after a failure in spite of -e.
    (set -e; "${@:3}") >"$cache/log" 2>&1 &
    wait $! && exec 9>&- && return
    if reason=$(grep -Em1 "$no_network" "$cache/log"); then
        echo "emulation: not run: $2 could not be fetched: ${reason# }" >&2
        exit 75
    fi
    tail -20 "$cache/log" >&2
    echo "$(basename "$0"): $2: failed; the reason is above" >&2
    exit 1
}

# What apt-get and pip say where no server answers, and only there.
no_network='Could not resolve|Could not connect|Cannot initiate the connection|Unable to connect to'
no_network+='|Temporary failure in name resolution|Temporary failure resolving|Network is unreachable'
no_network+='|Connection (timed out|refused)|NewConnectionError|ConnectTimeoutError|ProxyError'

mirror() {
    local site
    site=$(apt-get indextargets --format '$(SITE)' | grep -m1 'debian$' || true)
    echo "${site:-http://deb.debian.org/debian}"
}

# debian KIND ARCHITECTURE COMMAND ...: run an apt command on $release with lists of our own.
debian() {
    local kind=$1 architecture=$2 place=$cache/apt/$1-$2
    shift 2
    mkdir -p "$place"/lists/partial "$place"/archives/partial
    : >"$place/status"
    echo "$kind [arch=$architecture signed-by=$keyring] $(mirror) $release main" >"$place/sources.list"
    local options=(
        -o APT::Architecture="$architecture" -o APT::Architectures="$architecture"
        -o Dir::Etc::sourcelist="$place/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists="$place/lists" -o Dir::Cache::archives="$place/archives"
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
        -o Dir::State::status="$place/status" -o Dir::State::extended_states="$place/extended"
        -o Acquire::Languages=none -o Debug::NoLocking=1
    )
    local program=$1
    shift
    "$program" "${options[@]}" "$@"
}

# The machine's own programs, of our release. Each is started by a few lines that name its libraries,
# so that PATH suffices. The C library stays the machine's: it has to fit the machine's loader.
make_tools() {
    local place=$cache/tools.new library=usr/lib/x86_64-linux-gnu archive program option
    rm -rf "$place" "$cache"/apt/deb-amd64/archives/*.deb
    mkdir -p "$place/bin"
    debian deb amd64 apt-get update
    debian deb amd64 apt-get install --download-only --no-install-recommends -y \
        qemu-user qemu-system-arm e2fsprogs cpio openssh-client
    rm "$cache"/apt/deb-amd64/archives/libc6_*.deb
    for archive in "$cache"/apt/deb-amd64/archives/*.deb; do
        dpkg-deb -x "$archive" "$place"
    done
    rm "$cache"/apt/deb-amd64/archives/*.deb
    mv -n "$place"/lib/x86_64-linux-gnu/* "$place/$library/" # where some packages still are
    for program in usr/bin/{qemu-aarch64,qemu-system-aarch64,ssh,ssh-keygen} bin/cpio sbin/mke2fs; do
        option=
        # What it runs must not look for its own libraries among these.
        [[ $program == */qemu-aarch64 ]] && option='-U LD_LIBRARY_PATH'
        printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" %s "$@"\n' \
            "$cache/tools/$library" "$cache/tools/$program" "$option" >"$place/start.new"
        mkdir -p "$place/start"
        mv "$place/start.new" "$place/start/$(basename "$program")"
    done
    chmod +x "$place"/start/*
    rm -rf "$cache/tools"
    mv "$place" "$cache/tools"
}

fetch_tools() {
    need apt-get apt dpkg-deb dpkg $keyring debian-archive-keyring
    step "$cache/tools/start" "QEMU, mke2fs, cpio and ssh from Debian $release" make_tools
    PATH=$cache/tools/start:$PATH
}

# unpack FOLDER PACKAGE ...: an arm64 file system of these packages and what they depend on. Nothing
# of it is configured or run on this machine, so that no emulator is needed to make it.
unpack() {
    local place=$1.new archive folder
    rm -rf "$place"
    mkdir -p "$place"/{proc,sys,dev,tmp,opt,usr/{bin,sbin,lib}}
    for folder in bin sbin lib; do
        ln -s "usr/$folder" "$place/$folder" # as every Debian has it; packages may still say /lib
    done
    debian deb arm64 apt-get update
    debian deb arm64 apt-get install --download-only --no-install-recommends -y "${@:2}"
    for archive in "$cache"/apt/deb-arm64/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$archive" | tar x -C "$place" --keep-directory-symlink
    done
    rm "$cache"/apt/deb-arm64/archives/*.deb
    mv "$place" "$1"
}

make_rootfs() {
    unpack "$cache/rootfs" python3 libstdc++6 libgomp1 coreutils bash
}

# The board's wheels, at the board's versions, for the rootfs.
make_site() {
    local target=(--python-version $python --implementation cp --abi cp${python/./} --abi abi3
        --abi none --only-binary=:all: --no-deps)
    local version
    for version in 2_28 2_27 2_17; do
        target+=(--platform "manylinux_${version}_aarch64")
    done
    target+=(--platform manylinux2014_aarch64)
    rm -rf "$cache/site.new"
    python3 -m pip install -q "${target[@]}" --target "$cache/site.new" \
        -r "$root/constraints-board.txt"
    mv "$cache/site.new" "$cache/rootfs/opt/site"
}

fetch_rootfs() {
    need apt-get apt dpkg-deb dpkg $keyring debian-archive-keyring
    step "$cache/rootfs/usr/bin/python$python" "an arm64 file system from Debian $release" make_rootfs
    step "$cache/rootfs/opt/site" "onnxruntime, numpy and tokenizers for aarch64" make_site
}

# From its source package: binary packages carry no header of the plugin interface.
make_header() {
    local place=$cache/source
    mkdir -p "$place"
    debian deb-src amd64 apt-get update
    (cd "$place" && debian deb-src amd64 apt-get source --download-only qemu)
    tar xf "$place"/qemu_*.orig.tar.xz -C "$place" --wildcards '*/include/qemu/qemu-plugin.h' \
        --strip-components=3
    mv "$place/qemu-plugin.h" "$cache/qemu-plugin.h"
    rm -r "$place"
}

make_plugin() {
    gcc -O2 -Wall -shared -fPIC -I"$cache" "$1" -o "$plugin.new"
    mv "$plugin.new" "$plugin"
}

# Sets plugin: what counts instructions into a file, see count_instructions.c.
fetch_plugin() {
    local source=$root/scripts/emulation/count_instructions.c
    need gcc gcc xz xz-utils
    plugin=$cache/count_instructions-$(sha256sum "$source" | cut -c1-16).so
    step "$cache/qemu-plugin.h" "the plugin interface from qemu's source package" make_header
    step "$plugin" "the counting plugin" make_plugin "$source"
}
