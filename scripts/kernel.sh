#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Build a kernel for the lab: tinyconfig and configs/host.config.
#
#   [CONFIG=NAME] scripts/kernel.sh		build/linux -> build/host/
#   [CONFIG=NAME] scripts/kernel.sh base		the unpatched base -> build/base/,
#						with CONFIG: build/base-NAME/
#   scripts/kernel.sh --tree DIR		another tree, to the cache only: prints where
#   scripts/kernel.sh warnings			gcc's (W=1) and sparse's about KVM,
#						to build/lint/warnings
#
# With CONFIG, configs/NAME.config comes on top, and the result stands in
# build/NAME/. A line "# make: NAME=VALUE" there is a variable for Kbuild. The
# result is a bzImage, its System.map and its config. It is kept in the cache by
# what it was made from, and taken from there when nothing changed.

. "$(dirname "$0")/lib.sh"
plain_git

tree=$BUILD/linux
CONFIG=${CONFIG:-host}

# The folders that no kernel is built from are left out.
sources() {
	git -C "$tree" ls-tree "$1" |
		grep -v -P '\t(Documentation|tools|MAINTAINERS|\.gitignore)$'
	git -C "$tree" ls-tree "$1:tools" | grep -v -P '\t(testing|kvm)$'
}

key_of() {
	{
		sources "$1"
		cat "${fragments[@]}"
		gcc --version
		ld --version
		cat "$0"
	} | sha256sum | cut -c1-16
}

key() {
	if [ $do = build_base ]; then
		key_of base
	else
		key_of "$(work_tree_id "$tree")"
	fi
}

still() { [ "$(key)" = "$1" ] || die "the sources changed during the build"; }

# All builds are in a folder directly below the sources, which makes Kbuild use
# relative paths: ccache then knows the objects again in any checkout.
kmake() {
	make -C "$source" O="build-$name" CC='ccache gcc' LOCALVERSION= \
		"${variables[@]}" "$@"
}

# What neither tinyconfig nor a fragment asks for stays off.
configure() {
	local out=$source/build-$name missing
	kmake tinyconfig
	(cd "$out" && ../scripts/kconfig/merge_config.sh -m -O . .config \
		"${fragments[@]}")
	kmake KCONFIG_ALLCONFIG=.config allnoconfig
	missing=$(awk -f "$TOP/scripts/config-missing.awk" "$out/.config" \
		"${fragments[@]}")
	[ -z "$missing" ] || die "Kconfig does not grant: ${missing//$'\n'/, }"
}

keep() {
	local out=$source/build-$name
	still "$key"
	mkdir -p "$cached.$$"
	cp "$out/arch/x86/boot/bzImage" "$out/System.map" "$cached.$$"
	cp "$out/.config" "$cached.$$/config"
	rm -rf "$cached"
	mv "$cached.$$" "$cached"
}

build() {
	configure
	kmake -j"$JOBS" bzImage
	keep
}

# ccache repeats the warnings of what it knows; sparse runs on what is made.
build_warnings() {
	configure
	kmake prepare
	rm -rf "$source/build-$name"/{arch/x86/kvm,virt}
	mkdir -p "$cached.$$"
	kmake -j"$JOBS" -O W=1 C=1 arch/x86/kvm/ >"$cached.$$/warnings" 2>&1 || {
		cat "$cached.$$/warnings"
		return 1
	}
	still "$key"
	mv "$cached.$$" "$cached"
}

# The base is seldom built: its sources stand there only meanwhile.
build_base() {
	rm -rf "$source"
	mkdir -p "$source"
	git -C "$tree" archive base | tar -x -C "$source"
	build
	rm -rf "$source"
}

deliver() {
	mkdir -p "$BUILD/$name"
	cp "$cached"/* "$BUILD/$name/"
	say "kernel $name: build/$name/ ($key)"
}

tell() { echo "$cached"; }

name=$CONFIG do=build deliver=deliver source=
fragments=("$TOP/configs/host.config")
[ "$CONFIG" = host ] || fragments+=("$TOP/configs/$CONFIG.config")
case $* in
'') ;;
base)
	name=base do=build_base
	[ "$CONFIG" = host ] || name+=-$CONFIG
	source=$BUILD/$name/linux
	;;
warnings)
	name=lint do=build_warnings
	fragments=("$TOP/configs/"{host,lint}.config)
	;;
--tree\ *) tree=$2 deliver=tell ;;
*) die "usage: [CONFIG=NAME] ${0##*/} [base | warnings | --tree DIR]" ;;
esac
[ -d "$tree" ] || die "no ${tree#"$TOP"/}: 'make tree' first"
[ -f "${fragments[-1]}" ] || die "there is no configs/$CONFIG.config"
source=${source:-$tree}
mapfile -t variables < <(sed -n 's/^# make: //p' "${fragments[@]}")
key=$(key)
cached=$CACHE/kernel/$key
# One build at a time: another checkout may be at the same kernel.
make_once() { [ -d "$cached" ] || step "build kernel $name" $do; }
[ -d "$cached" ] || locked kernel make_once
$deliver
