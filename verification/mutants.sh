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
#
# No test can be made to see some. A tool sees them instead (README.md):
#   Killed-by: ordering: NAME	run on the mutated source; NAME fails
#   Killed-by: model: BREAK	the model, broken in the same way by hand
#
# And one may break nothing, but add what the feature has to cope with:
#   Passes: MACHINE: COMMAND

. "$(dirname "$0")/../scripts/lib.sh"
. "$TOP/scripts/tally.sh"
# shellcheck source=lab/judge.sh
. "$TOP/lab/judge.sh"
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

# run_test "MACHINE: COMMAND" on the mutated kernel: the test's exit code, or 1
# where the kernel complained.
run_test() {
	local kernel said rc=0
	kernel=$("$TOP/scripts/kernel.sh" --tree "$tree")/bzImage
	# shellcheck disable=SC2086 # the command's words
	said=$("$TOP/lab/boot.sh" --machine "${1%%:*}" --kernel "$kernel" \
		--bin "$BUILD/selftests" --timeout 300 -- ${1#*: } 2>&1) || rc=$?
	echo "$said"
	! faults_in - <<<"$said" >/dev/null || return 1
	return "$rc"
}

# Success if the test failed; a skip is none.
test_fails() {
	local killer=$1 rc=0
	run_test "$killer" || rc=$?
	case $rc in
	0) echo "survived: $killer passed"; return 1 ;;
	4) echo "survived: $killer skipped"; return 1 ;;
	esac
}

# Success if the tool has found something: 1. It may fail otherwise.
tool_finds() {
	local rc=0
	"$TOP/verification/model.sh" "$@" || rc=$?
	[ $rc -eq 1 ] || { echo "survived: $*: $rc"; return 1; }
}

killed() {
	local name=$1 killer
	killer=$(header "$name" Killed-by)
	mutate "$name"
	case $killer in
	"ordering: "*) tool_finds ordering "$tree" "${killer#*: }" ;;
	"model: "*) tool_finds broken "${killer#*: }" ;;
	*) test_fails "$killer" ;;
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
passes() { mutate "$1" && run_test "$(header "$1" Passes)"; }

for name; do
	if [ -n "$(header "$name" Passes)" ]; then
		check "$name passes: $(header "$name" Adds)" passes "$name"
	else
		check "$name is killed: $(header "$name" Breaks)" killed "$name"
	fi
done
total
