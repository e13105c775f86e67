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
# What a step was made from is its key, and BASE remembers the commit of each key:
# only what is behind the first change is made again.
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
export GIT_INDEX_FILE=$tmp/index

# Each new file belongs to one step, and each file that a step names is there.
check_new_files() {
	local p dirs=() d
	while read -r p; do
		[ -f "$patches/$p" ] || die "$p is in series, but not there"
		new_files "$patches/$p"
	done < <(steps "$patches/series" | awk '{ print $2 }') |
		sort >"$tmp/named"
	complain "not in series" comm -13 \
		<(steps "$patches/series" | awk '{ print $2 }' | sort) \
		<(cd "$patches" && find . -name '*.patch' -printf '%P\n' | sort)
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

# One step behind the last: $n counts those that fast-import is to make, and $tree
# is the last one's.
make_step() {
	local p=$1 parent=$2 last=$tree
	git mailinfo -k "$tmp/body" "$tmp/diff" <"$patches/$p" >"$tmp/info"
	[ -n "$(header Subject)" ] && [ -n "$(header Email)" ] ||
		die "$p: From or Subject is missing"
	apply_diff "$p"
	add_new_files "$patches/$p"
	tree=$(git write-tree)
	{ header Subject; echo; cat "$tmp/body"; } | git stripspace >"$tmp/message"
	n=$((n + 1))
	{
		echo "commit refs/steps/$$"
		echo "mark :$n"
		echo "author $(header Author) <$(header Email)> $date"
		echo "committer $GIT_COMMITTER_NAME <$GIT_COMMITTER_EMAIL> $date"
		echo "data $(stat -c %s "$tmp/message")"
		cat "$tmp/message"
		echo "from $parent"
		git diff-tree -r --no-renames "$last" "$tree" | awk -F '[ \t]' '
			$5 == "D" { print "D " $6; next }
			{ print "M " $2, $4, $6 }'
		echo
	} >>"$tmp/import"
}

# The index holds only what the steps touch, and git is fast with it. fast-import
# puts the rest around it.
read_touched() {
	while read -r _ p; do
		new_files "$patches/$p"
		sed -n 's,^diff --git a/\(.*\) b/.*,\1,p' "$patches/$p"
	done <"$tmp/steps" | sort -u >"$tmp/touched"
	xargs -d '\n' git --literal-pathspecs ls-tree -r --full-tree "$1" -- \
		<"$tmp/touched" | git update-index --index-info
	tree=$(git write-tree)
	date="$(date -d "$GIT_COMMITTER_DATE" +%s) +0000"
}

# Remember the new commits by their keys.
import_steps() {
	local p key id
	[ "$n" -gt 0 ] || return 0
	git fast-import --quiet --export-marks="$tmp/marks" <"$tmp/import"
	git update-ref -d "refs/steps/$$"
	sort -n -t : -k 2 "$tmp/marks" | cut -d ' ' -f 2 >"$tmp/ids"
	paste -d ' ' "$tmp/ids" <(tail -n "$n" "$tmp/steps") |
		while read -r id key p; do
			echo "$id" >"$GIT_DIR/steps/$key.$$"
			mv "$GIT_DIR/steps/$key.$$" "$GIT_DIR/steps/$key"
		done
	tip=$(tail -n 1 "$tmp/ids")
}

# key_of_step KEY PATCH: PATCH and its new files, on what KEY stands for.
key_of_step() {
	(
		cd "$ROOT"
		{
			echo "$1"
			mapfile -t files < <(new_files "$patches/$2")
			[ ${#files[@]} -eq 0 ] || stat -c '%a %n' "${files[@]}"
			cat "$patches/$2" "${files[@]}" "$TOP/scripts/commit-series.sh"
		} | sha256sum | cut -c1-32
	)
}

check_series "$patches/series"
check_new_files
tip=$(git rev-parse base)
version=$(kernel_version "$GIT_DIR" base)
if [ -n "$part" ]; then
	parts=$(needed_parts "$patches/series" "$part")
else
	parts=$(part_names "$patches/series")
fi
: >"$tmp/steps"
key=$tip
while read -r of p since; do
	grep -qxF "$of" <<<"$parts" || continue
	if in_stable "$since" "$version"; then
		[ -z "$(new_files "$patches/$p")" ] ||
			die "$p: a step that stable has cannot bring new files"
		say "$p: left out, Linux has it since ${since#since }"
		continue
	fi
	key=$(key_of_step "$key" "$p")
	echo "$key $p" >>"$tmp/steps"
done < <(steps "$patches/series")
mkdir -p "$GIT_DIR/steps"
n=0 tree=
while read -r key p; do
	if [ $n -eq 0 ] && known=$(cat "$GIT_DIR/steps/$key" 2>/dev/null) &&
		git cat-file -e "$known" 2>/dev/null; then
		tip=$known
		continue
	fi
	[ $n -gt 0 ] || read_touched "$tip"
	if [ $n -eq 0 ]; then parent=$tip; else parent=:$n; fi
	make_step "$p" "$parent"
done <"$tmp/steps"
import_steps
echo "$tip"
