#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Make virtual hardware ready; instant where it is ready already.
#
#   lab/setup.sh vtx	VT-x by Bochs, built here once
#   lab/setup.sh svm	SVM by the TCG of QEMU, unpacked here once
#   lab/setup.sh kvm	this machine's own VT-x or SVM, nested, by QEMU's KVM
#   lab/setup.sh detect	print the best there is: "kvm", else "vtx svm"

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"
# shellcheck source=lab/lib.sh
. "$TOP/lab/lib.sh"

# A ROM's bytes add up to zero; the last one is ours to choose.
build_optrom() {
	local rom=$1/optrom.bin sum
	gcc -m32 -nostdlib -static -Wl,--build-id=none,-Ttext=0,--oformat=binary \
		-o "$rom" "$LAB/bochs/optrom.S"
	sum=$(od -An -v -w1 -tu1 "$rom" | awk '{ n += $1 } END { print n % 256 }')
	poke "$rom" 511 "\\x$(printf %x $(((256 - sum) % 256)))"
}

build_bochs() {
	local dir=$1 source=$2 flags='-O3 -march=native'
	rm -rf "$dir.part"
	mkdir -p "$dir.part/source"
	tar -x -C "$dir.part/source" --strip-components=1 -f "$source"/bochs_*.orig.tar.*
	cd "$dir.part/source"
	CFLAGS=$flags CXXFLAGS=$flags ./configure "${BOCHS_FLAGS[@]}"
	make -j"$JOBS"
	strip -o "$dir.part/bochs" bochs
	build_optrom "$dir.part"
	cd /
	rm -rf "$dir.part/source"
	mv "$dir.part" "$dir"
}

setup_bochs() {
	local dir source
	dir=$(bochs_dir)
	[ ! -d "$dir" ] || return 0
	need g++ g++
	need make make
	source=$("$TOP/scripts/fetch.sh" src trixie "$BOCHS_SOURCE")
	export -f build_bochs build_optrom poke
	export LAB JOBS
	step "build bochs" bash -euo pipefail -c \
		"BOCHS_FLAGS=(${BOCHS_FLAGS[*]}); build_bochs '$dir' '$source'"
}

unpack_qemu() {
	local dir=$1 deb
	rm -rf "$dir.part"
	mkdir -p "$dir.part"
	for deb in "$2"/*.deb; do
		dpkg-deb -x "$deb" "$dir.part"
	done
	mv "$dir.part" "$dir"
	(qemu --version) || { rm -rf "$dir"; return 1; }
}

setup_qemu() {
	local dir packages
	packages=$(qemu_packages)
	dir=$(qemu_dir)
	[ -d "$dir" ] || step "unpack qemu" unpack_qemu "$dir" "$packages"
}

need "$BUSYBOX" busybox-static
need cpio cpio
need zstd zstd
case ${1:-} in
vtx)
	need "$BOCHS_BIOS" bochsbios
	need "$BOCHS_VGABIOS" vgabios
	need gcc gcc
	locked bochs setup_bochs
	;;
svm)
	locked qemu-root setup_qemu
	;;
kvm)
	locked qemu-root setup_qemu
	nested_kvm || die "this machine has no nested VT-x or SVM to offer"
	;;
detect)
	if nested_kvm; then echo kvm; else echo vtx svm; fi
	;;
*)
	die "usage: ${0##*/} vtx|svm|kvm|detect"
	;;
esac
