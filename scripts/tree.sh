#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The patched kernel tree in build/linux: the base and one commit a step.
#
#   [LINUX=PATH] scripts/tree.sh [--keep]
#
# Only files that differ are rewritten. Work in the tree that was not taken home
# by refresh is an error; with --keep the tree is then left as it is.

. "$(dirname "$0")/lib.sh"
plain_git

tree=$BUILD/linux
ignored='/build-*/'

# refs/series/home is what the repository holds: where tree and refresh left.
unrefreshed() {
	[ "$(git -C "$tree" rev-parse HEAD)" != \
		"$(git -C "$tree" rev-parse refs/series/home)" ] ||
		[ -n "$(git -C "$tree" status --porcelain)" ]
}

create() {
	rm -rf "$tree.part"
	git init -q -b series "$tree.part"
	echo "$ignored" >>"$tree.part/.git/info/exclude"
	use_base "$tree.part"
	git -C "$tree.part" config user.name "$GIT_AUTHOR_NAME"
	git -C "$tree.part" config user.email "$GIT_AUTHOR_EMAIL"
	check_out "$tree.part"
	mv "$tree.part" "$tree"
}

# The base's objects, and those that commit-series.sh made, stay in the cache. So
# do those of another base that the tree had before: git needs them to leave it.
use_base() {
	git -C "$1" config series.base "$base"
	grep -qsxF "$base/objects" "$1/.git/objects/info/alternates" ||
		echo "$base/objects" >>"$1/.git/objects/info/alternates"
	git -C "$1" update-ref refs/tags/base \
		"$(git --git-dir "$base" rev-parse base)"
}

check_out() {
	git -C "$1" checkout -q -B series "$tip"
	git -C "$1" update-ref refs/series/home "$tip"
}

update() {
	use_base "$tree"
	[ "$(git -C "$tree" rev-parse series)" = "$tip" ] || check_out "$tree"
}

[ $# -eq 0 ] || [ "$*" = --keep ] || die "usage: ${0##*/} [--keep]"
base=$("$TOP/scripts/base.sh")
if [ -d "$tree" ] && [ -d "$base" ] && unrefreshed; then
	[ $# -ne 0 ] ||
		die "build/linux holds work that is not taken home: 'make refresh' first"
	say "build/linux as it stands, with work that is not taken home yet"
	exit 0
fi
tip=$("$TOP/scripts/commit-series.sh" "$base")
if [ -d "$tree" ]; then
	update
else
	step "check out build/linux" create
fi
say "build/linux: $(git -C "$tree" rev-list --count base..HEAD) steps on" \
	"$(git -C "$tree" log -1 --format=%s base)"
