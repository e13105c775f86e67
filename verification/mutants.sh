#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Break the feature on purpose, one mutant after the other, and see that the test
# which is to notice does. KTAP on stdout: `ok` is a mutant that was killed.
#
#   verification/mutants.sh [NAME...]	all of mutants/, or these
#
# A mutant is a patch of build/linux with two lines on top:
#   Breaks: WHAT
#   Killed-by: MACHINE: COMMAND	a line of lab/machines.tab, a test program

. "$(dirname "$0")/../scripts/lib.sh"
. "$TOP/scripts/tally.sh"
plain_git

mutants=$TOP/verification/mutants
tree=$BUILD/mutants/linux

header() { sed -n "s/^$2: //p" "$mutants/$1.patch"; }

# The mutated tree, as a commit-less change on top of what build/linux stands for.
mutate() {
	[ -d "$tree" ] || git clone -q --shared "$BUILD/linux" "$tree"
	git -C "$tree" fetch -q "$BUILD/linux" HEAD
	git -C "$tree" checkout -q -f --detach FETCH_HEAD
	git -C "$tree" apply "$mutants/$1.patch"
}

# Success if the test failed; a skip is none.
killed() {
	local name=$1 killer kernel rc=0
	killer=$(header "$name" Killed-by)
	mutate "$name"
	kernel=$("$TOP/scripts/kernel.sh" --tree "$tree")/bzImage
	# shellcheck disable=SC2086 # the command's words
	"$TOP/lab/boot.sh" --machine "${killer%%:*}" --kernel "$kernel" \
		--bin "$BUILD/selftests" --timeout 300 -- ${killer#*: } || rc=$?
	case $rc in
	0) echo "survived: $killer passed"; return 1 ;;
	4) echo "survived: $killer skipped"; return 1 ;;
	esac
}

[ -d "$BUILD/linux" ] && [ -d "$BUILD/selftests" ] ||
	die "no tree or no tests: 'make selftests' first"
[ $# -gt 0 ] || mapfile -t < <(cd "$mutants" && ls -- *.patch)
[ $# -gt 0 ] || set -- "${MAPFILE[@]%.patch}"
for name; do
	[ -f "$mutants/$name.patch" ] || die "no mutant $name"
done
mkdir -p "$BUILD/mutants"
for name; do
	check "$name is killed: $(header "$name" Breaks)" killed "$name"
done
total
