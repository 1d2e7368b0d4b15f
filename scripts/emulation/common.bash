# What both emulations need, fetched once into a cache folder. Sourced, not run.
#
# Needs no root, and Debian or a system made from it: apt-get and dpkg-deb fetch and unpack packages
# of another architecture and release without touching the machine's own.

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

# step FILE DESCRIPTION COMMAND ...: make FILE unless it is there.
step() {
    [ -e "$1" ] && return
    echo "  $2" >&2
    mkdir -p "$cache"
    "${@:3}" >"$cache/log" 2>&1 || {
        tail -20 "$cache/log" >&2
        echo "$(basename "$0"): $2: failed; the reason is above" >&2
        exit 1
    }
}

mirror() {
    apt-get indextargets --format '$(SITE)' | grep -v security | head -1
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
