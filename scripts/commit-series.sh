#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Turn the series into commits, without a work tree.
#
#   scripts/commit-series.sh [--part NAME] BASE [ROOT]
#
# BASE is what scripts/base.sh printed, ROOT the folder that holds patches/ and
# the new files (default: this repository). Prints the id of the last commit;
# the objects go to BASE. The same input gives the same id. With --part, only that
# part and the parts that it needs.
#
# patches/.../series has a line for each step, the patch's path, below the heading
# of its part:
#
#	# part NAME[ needs NAME ...]: TITLE
#
# A line may end with "since VERSION": stable has the step from there on. Such a
# base is left as it is, and a message says so.

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/parts.sh"
plain_git

part=
[ "${1:-}" != --part ] || { part=${2:-}; shift 2; }
[ $# -ge 1 ] && [ $# -le 2 ] || die "usage: ${0##*/} [--part NAME] BASE [ROOT]"
export GIT_DIR=$1
ROOT=${2:-$TOP}
patches=$ROOT/patches/$BASE
[ -f "$patches/series" ] || die "patches/$BASE/series is missing"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Each new file belongs to one step, and each file that a step names is there.
check_new_files() {
	local dirs=() d
	steps "$patches/series" | awk '{ print $2 }' | sort >"$tmp/listed"
	(cd "$patches" && find . -name '*.patch' -printf '%P\n' | sort) >"$tmp/patches"
	complain "in series, but not there" comm -23 "$tmp/listed" "$tmp/patches"
	complain "not in series" comm -13 "$tmp/listed" "$tmp/patches"
	(cd "$patches" && xargs -r cat /dev/null <"$tmp/listed") | new_files - |
		sort >"$tmp/named"
	for d in "${NEW_DIRS[@]}"; do
		[ ! -d "$ROOT/$d" ] || dirs+=("$d")
	done
	: >"$tmp/there"
	[ ${#dirs[@]} -eq 0 ] ||
		(cd "$ROOT" && find "${dirs[@]}" -type f | sort) >"$tmp/there"
	complain "named by more than one step" uniq -d "$tmp/named"
	complain "named by a step, but missing" comm -23 "$tmp/named" "$tmp/there"
	complain "in no patch's New-files" comm -13 "$tmp/named" "$tmp/there"
}

complain() {
	local why=$1 files
	shift
	files=$("$@" | paste -sd' ')
	[ -z "$files" ] || die "$why: $files"
}

check_series "$patches/series"
check_new_files
version=$(kernel_version "$GIT_DIR" base)
if [ -n "$part" ]; then
	parts=$(needed_parts "$patches/series" "$part")
else
	parts=$(part_names "$patches/series")
fi
while read -r of p since; do
	[[ $'\n'$parts$'\n' = *$'\n'$of$'\n'* ]] || continue
	if in_stable "$since" "$version"; then
		[ -z "$(new_files "$patches/$p")" ] ||
			die "$p: a step that stable has cannot bring new files"
		say "$p: left out, Linux has it since ${since#since }"
		continue
	fi
	echo "$p"
done < <(steps "$patches/series") >"$tmp/steps"
"$TOP/scripts/make-steps.pl" "$ROOT" "$patches" <"$tmp/steps"
