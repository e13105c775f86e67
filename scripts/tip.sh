#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Turn the series into commits, without a work tree.
#
#   scripts/tip.sh BASE [ROOT]
#
# BASE is what scripts/base.sh printed, ROOT the folder that holds patches/ and
# the new files (default: this repository). Prints the id of the last commit;
# the objects go to BASE. The same input gives the same id.

. "$(dirname "$0")/lib.sh"
plain_git

[ $# -ge 1 ] || die "usage: ${0##*/} BASE [ROOT]"
export GIT_DIR=$1
ROOT=${2:-$TOP}
patches=$ROOT/patches/$BASE
[ -f "$patches/series" ] || die "patches/$BASE/series is missing"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export GIT_INDEX_FILE=$tmp/index

# Each new file belongs to one step, and each file that a step names is there.
check_new_files() {
	local p dirs=() d
	while read -r p; do
		[ -f "$patches/$p" ] || die "$p stands in series, but is not there"
		new_files "$patches/$p"
	done <"$tmp/series" | sort >"$tmp/named"
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

apply_diff() {
	! grep -q '^diff --git' "$tmp/diff" ||
		git apply --cached --whitespace=nowarn "$tmp/diff" 2>"$tmp/why" ||
		die "$1 does not apply: $(cat "$tmp/why")"
}

add_new_files() {
	local f mode
	new_files "$1" | while read -r f; do
		mode=100644
		[ ! -x "$ROOT/$f" ] || mode=100755
		printf '%s %s\t%s\n' $mode \
			"$(git hash-object -w --no-filters "$ROOT/$f")" "$f"
	done | git update-index --add --index-info
}

header() { sed -n "s/^$1: //p" "$tmp/info"; }

# One step on top of commit $1; prints the new commit.
commit_step() {
	local parent=$1 p=$2
	git mailinfo -k "$tmp/body" "$tmp/diff" <"$patches/$p" >"$tmp/info"
	[ -n "$(header Subject)" ] && [ -n "$(header Email)" ] ||
		die "$p: From or Subject is missing"
	apply_diff "$p"
	add_new_files "$patches/$p"
	{ header Subject; echo; cat "$tmp/body"; } | git stripspace |
		GIT_AUTHOR_NAME=$(header Author) GIT_AUTHOR_EMAIL=$(header Email) \
			git commit-tree -p "$parent" "$(git write-tree)"
}

sed '/^#/d; /^[[:space:]]*$/d' "$patches/series" >"$tmp/series"
check_new_files
tip=$(git rev-parse base)
git read-tree "$tip"
while read -r p; do
	tip=$(commit_step "$tip" "$p")
done <"$tmp/series"
echo "$tip"
