#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Build the kernel and the selftests at each step of the series, or with --parts
# at the end of each part, with no more than the parts that it needs. What a step
# does not touch comes from the cache.
#
#   [LINUX=...] scripts/bisect.sh [--parts]

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/parts.sh"
. "$TOP/scripts/ktap.sh"
plain_git

tree=$BUILD/bisect

# A tree of its own, so that build/linux keeps its files and objects.
prepare() {
	rm -rf "$tree"
	git clone -q --shared --no-checkout --branch base "$base" "$tree"
	git -C "$tree" checkout -q --detach
	echo '/build-*/' >>"$tree/.git/info/exclude"
}

# The commits to build, one a line, each with what it is called.
each_step() {
	git --git-dir "$base" log --reverse --format='%H %s' \
		"base..$("$TOP/scripts/commit-series.sh" "$base")"
}

each_part() {
	local name
	while read -r name; do
		echo "$("$TOP/scripts/commit-series.sh" --part "$name" "$base" \
			2>/dev/null) part $name with what it needs"
	done < <(part_names "$PATCHES/series")
}

builds() {
	git -C "$tree" checkout -q --detach "$1"
	"$TOP/scripts/kernel.sh" --tree "$tree"
	"$TOP/scripts/selftests.sh" --tree "$tree"
}

case $* in
'') list=each_step ;;
--parts) list=each_part ;;
*) die "usage: ${0##*/} [--parts]" ;;
esac
base=$("$TOP/scripts/base.sh")
mkdir -p "$BUILD"
$list >"$BUILD/bisect.list"
step "bisect: check out the base" prepare
while read -r commit what; do
	say "$what"
	check "builds: $what" builds "$commit"
done <"$BUILD/bisect.list"
rm -rf "$tree" "$BUILD/bisect.list"
total
