#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Pack Debian's libvirt, QEMU and the guest for a machine: build/libvirt/.
#
#   suites/libvirt/pack.sh

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

here=$TOP/suites/libvirt
out=$BUILD/libvirt
libs=usr/lib/x86_64-linux-gnu
programs=(
	usr/sbin/libvirtd usr/bin/virsh
	"$libs/libvirt/connection-driver/libvirt_driver_qemu.so"
)

# With /usr merged, as Debian installs it.
unpack() {
	local deb
	mkdir -p usr/lib usr/lib64
	ln -s usr/lib usr/lib64 .
	for deb in "$@"; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink
	done
}

libraries() {
	local file
	for file in "${programs[@]}"; do
		$libs/ld-linux-x86-64.so.2 --inhibit-cache --library-path $libs \
			--list "$file"
	done | awk -v dir="$libs/" '
		$2 == "=>" && index($3, dir) != 1 { print "no library: " $0; bad = 1 }
		$2 == "=>" { print $3 }
		END { exit bad }' | sort -u
}

# The programs, their libraries and what they read, for a machine's root.
pack() {
	local files
	unpack "$@"
	files=$(libraries)
	mkdir lab
	cp "$BUILD"/migrate/{qemu-system-x86_64,guest.bin} "$here/domain.xml" lab/
	# shellcheck disable=SC2046,SC2086 # one word a file; links, and what they point to
	tar -cf "$out/libvirt.tar" lab lib lib64 usr/lib64 usr/share/libvirt/cpu_map \
		"${programs[@]}" $files $(realpath --relative-to=. $files)
}

[ $# -eq 0 ] || die "usage: ${0##*/}"
"$TOP/suites/migration/build.sh"
# All libraries of the daemon and its driver are among what virsh needs.
clients=$("$TOP/scripts/fetch.sh" all bookworm libvirt-clients)
daemon=$("$TOP/scripts/fetch.sh" deb bookworm libvirt-daemon)
driver=$("$TOP/scripts/fetch.sh" deb bookworm libvirt-daemon-driver-qemu)
rm -rf "$out"
mkdir -p "$out/root"
cp "$here/on-host.sh" "$out/"
(cd "$out/root" && step "pack libvirt" pack {"$clients","$daemon","$driver"}/*.deb)
