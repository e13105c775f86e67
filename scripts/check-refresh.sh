#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Does build/linux, taken home, give what the repository holds, and that the same
# commits again? Tried in a copy.
#
#   scripts/check-refresh.sh

. "$(dirname "$0")/lib.sh"

copy=$BUILD/roundtrip
base=$(git -C "$BUILD/linux" config series.base) ||
	die "no build/linux: 'make tree' first"
parts=(patches)
for d in "${NEW_DIRS[@]}"; do
	[ ! -d "$TOP/$d" ] || parts+=("$d")
done

rm -rf "$copy"
mkdir -p "$copy"
cd "$TOP"
cp -r scripts "${parts[@]}" "$copy"
"$copy/scripts/refresh.sh" --from "$BUILD/linux"
for d in "${parts[@]}"; do
	diff -r "$d" "$copy/$d" || die "$d is not as refresh writes it"
done
[ "$("$copy/scripts/commit-series.sh" "$base")" = "$(git -C "$BUILD/linux" rev-parse HEAD)" ] ||
	die "the refreshed series gives other commits"
rm -rf "$copy"
