#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Build the KVM selftests of build/linux as static programs, in build/selftests/
# as they stand in the source tree. They are kept in the cache by what they
# were made from, and taken from there when nothing changed.
#
#   [SELFTESTS_CC=clang] [SELFTESTS_CFLAGS="FLAG ..."] scripts/selftests.sh [--tree DIR]
#
# Another compiler or further flags make another folder, e.g. build/selftests-clang.
# With --tree, another tree's, to the cache only.

. "$(dirname "$0")/lib.sh"
plain_git

# What they are made from: the headers that user space sees, and tools.
sources=(Makefile scripts include/uapi include/asm-generic arch/x86/include/uapi
	arch/x86/entry/syscalls tools)

cc=${SELFTESTS_CC:-gcc} cflags=${SELFTESTS_CFLAGS:-}
name=$(printf 'selftests-%s' "$cc $cflags" | tr -cs '[:alnum:]=.' - |
	sed 's/^selftests-gcc-*/selftests-/; s/-*$//')

key() {
	{
		git -C "$tree" ls-tree "$(work_tree_id "$tree")" "${sources[@]}"
		"$cc" --version
		echo "$cflags"
		cat "$0"
	} | sha256sum | cut -c1-16
}

keep() {
	[ "$(key)" = "$key" ] || die "the sources changed during the build"
	rm -rf "$cached"
	mkdir -p "$cached.$$"
	(cd "$out/kvm" && find . -type f -perm -u+x -print0 |
		cpio -0 --quiet -pdm "$cached.$$")
	mv "$cached.$$" "$cached"
}

# The tests' Makefile does not know which headers a program includes, so all
# are built anew.
build() {
	rm -rf "$out"
	make -C "$tree" O=build-selftests -j"$JOBS" headers_install
	mkdir "$out/kvm"
	make -C "$tree/tools/testing/selftests/kvm" OUTPUT="$out/kvm" \
		INSTALL_HDR_PATH="$out/usr" KSFT_KHDR_INSTALL_DONE=1 \
		CC="ccache $cc" USERCFLAGS="$cflags${quiet:+ $quiet}" \
		USERLDFLAGS=-static
	# The first parts of the series have no VMM.
	[ ! -d "$tree/tools/kvm/dirty_ring" ] ||
		make -C "$tree/tools/kvm/dirty_ring" OUTPUT="$out/kvm" \
			KHDR="$out/usr/include" CC="ccache $cc" \
			LDFLAGS=-static
	keep
}

deliver() {
	mkdir -p "$BUILD/$name"
	rsync -rp --checksum --delete "$cached/" "$BUILD/$name/"
	say "selftests: build/$name ($key)"
}

tree=$BUILD/linux deliver=deliver
case $* in
'') ;;
--tree\ *) tree=$2 deliver=: ;;
*) die "usage: ${0##*/} [--tree DIR]" ;;
esac
[ -d "$tree" ] || die "no ${tree#"$TOP"/}: 'make tree' first"
[ -n "$(command -v "$cc")" ] || die "no compiler $cc"
# The tests' Makefile asks for -no-pie, of which -static has no need.
quiet=''
[[ $cc != *clang* ]] || quiet=-Qunused-arguments
out=$tree/build-selftests
key=$(key)
cached=$CACHE/selftests/$key
# One build at a time: another checkout may be at the same tests.
make_once() { [ -d "$cached" ] || step "build $name" build; }
[ -d "$cached" ] || locked selftests make_once
$deliver
