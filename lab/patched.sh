#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Run a command on build/linux as a patch changes it, in a copy, one at a time.
# The word @TREE@ of the command becomes the copy's path. Exits with 3 where the
# patch cannot be applied, else as the command does.
#
#   lab/patched.sh PATCH COMMAND...

. "$(dirname "$0")/../scripts/lib.sh"
plain_git

tree=$BUILD/patched/linux

run_patched() {
	local patch=$1
	shift
	mkdir -p "$BUILD/patched"
	{
		[ -d "$tree" ] || git clone -q --shared "$BUILD/linux" "$tree"
		git -C "$tree" fetch -q "$BUILD/linux" HEAD &&
			git -C "$tree" checkout -q -f --detach FETCH_HEAD &&
			git -C "$tree" apply "$patch"
	} || exit 3
	"${@//@TREE@/$tree}"
}

[ $# -ge 2 ] || die "usage: ${0##*/} PATCH COMMAND..."
[ -d "$BUILD/linux" ] || { say "no build/linux: 'make tree' first"; exit 3; }
patch=$(realpath -e "$1") || exit 3
locked "patched${TOP//\//-}" run_patched "$patch" "${@:2}"
