#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Debian's QEMU 7.2, its source unchanged, as one static program small enough for
# a lab machine's memory: KVM only, one machine type, none of the optional features.
# Prints the program's path. It is kept in the cache by what it was made from.
#
#   suites/migration/qemu.sh

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

SUITE=bookworm
# The tracing backend is for migrate -a: marks in the kernel's trace.
FLAGS=(
	--target-list=x86_64-softmmu --static --disable-tcg --enable-kvm
	--without-default-features --without-default-devices
	--audio-drv-list= --disable-install-blobs
	--enable-trace-backends=ftrace
)

# fetch.sh takes the tarball alone; Debian's patches come with its apt
# configuration.
fetch_patches() {
	local out=$CACHE/dl/$SUITE/qemu-patches
	[ ! -d "$out" ] || return 0
	rm -rf "$out.part"
	mkdir -p "$out.part"
	cd "$out.part" || return
	APT_CONFIG=$CACHE/apt/$SUITE/conf-src \
		apt-get source --download-only --diff-only qemu
	mv "$out.part" "$out"
}

unpack() {
	local patch
	mkdir -p "$1"
	cd "$1" || return
	tar -x --strip-components=1 -f "$tarball"
	tar -x -f "$patches"
	sed 's/[[:space:]]*#.*//; /^$/d' debian/patches/series |
		while read -r patch; do
			patch -s -p1 <"debian/patches/$patch"
		done
}

build() {
	rm -rf "$dir.part"
	unpack "$dir.part/source"
	mkdir "$dir.part/source/build"
	cd "$dir.part/source/build" || return
	../configure --cc='ccache gcc' "${FLAGS[@]}"
	make -j"$JOBS" qemu-system-x86_64
	strip -o "$dir.part/qemu-system-x86_64" qemu-system-x86_64
	cd /
	rm -rf "$dir.part/source"
	mv "$dir.part" "$dir"
}

make_qemu() { [ -d "$dir" ] || step "build qemu" build; }

[ $# -eq 0 ] || die "usage: ${0##*/}"
tarball=$(echo "$("$TOP/scripts/fetch.sh" src $SUITE qemu)"/*.orig.tar.*)
[ -d "$CACHE/dl/$SUITE/qemu-patches" ] ||
	locked fetch-qemu step "download qemu's patches ($SUITE)" fetch_patches
patches=$(echo "$CACHE/dl/$SUITE/qemu-patches"/*.debian.tar.*)
key=$({
	basename "$tarball"
	basename "$patches"
	echo "${FLAGS[*]}"
	gcc --version
} | sha256sum | cut -c1-16)
dir=$CACHE/qemu/$key
mkdir -p "$CACHE/qemu"
locked qemu make_qemu
echo "$dir/qemu-system-x86_64"
