#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Pack the QEMU that emulates SVM, from Debian's backports, with the libraries that
# it needs: build/migrate/new-qemu.tar, whose new-qemu/qemu runs it.
#
#   suites/migration/pack.sh

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"
# shellcheck source=lab/lib.sh
. "$TOP/lab/lib.sh"

out=$BUILD/migrate

pack() {
	local root=$1 libs=$1/usr/lib/x86_64-linux-gnu dir=$out/new-qemu
	rm -rf "$dir"
	mkdir -p "$dir/lib" "$dir/share"
	cp "$root/usr/bin/qemu-system-x86_64" "$dir/"
	strip "$dir/qemu-system-x86_64"
	"$libs/ld-linux-x86-64.so.2" --inhibit-cache --library-path "$libs" \
		--list "$dir/qemu-system-x86_64" |
		awk '$2 == "=>" { print $3 }' |
		xargs cp -L -t "$dir/lib" "$libs/ld-linux-x86-64.so.2"
	cp "$root"/usr/share/qemu/*.bin "$dir/share/"
	cat >"$dir/qemu" <<-'END'
		#!/bin/busybox sh
		dir=$(dirname "$0")
		exec "$dir/lib/ld-linux-x86-64.so.2" --inhibit-cache \
			--library-path "$dir/lib" "$dir/qemu-system-x86_64" \
			-L "$dir/share" "$@"
	END
	chmod +x "$dir/qemu"
	tar -cf "$out/new-qemu.tar" -C "$out" new-qemu
	rm -rf "$dir"
}

[ $# -eq 0 ] || die "usage: ${0##*/}"
mkdir -p "$out"
root=$(qemu_dir)
[ -d "$root" ] || { "$TOP/lab/setup.sh" svm && root=$(qemu_dir); }
step "pack qemu" pack "$root"
