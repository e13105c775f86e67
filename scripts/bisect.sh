#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Build the kernel and the selftests at each step of the series. What a step does
# not touch comes from the cache.
#
#   scripts/bisect.sh

. "$(dirname "$0")/lib.sh"
plain_git

linux=$BUILD/linux
tree=$BUILD/bisect

# A tree of its own, so that build/linux keeps its files and objects.
prepare() {
	rm -rf "$tree"
	git clone -q --shared --no-checkout "$linux" "$tree"
	git -C "$tree" checkout -q --detach base
	echo '/build-*/' >>"$tree/.git/info/exclude"
}

[ -d "$linux" ] || die "no build/linux: 'make tree' first"
step "bisect: check out the base" prepare
n=0 passed=0 failed=0
for c in $(git -C "$linux" rev-list --reverse base..series); do
	n=$((n + 1))
	git -C "$tree" checkout -q --detach "$c"
	subject=$(git -C "$linux" log -1 --format=%s "$c")
	say "$n: $subject"
	if "$TOP/scripts/kernel.sh" --tree "$tree" &&
		"$TOP/scripts/selftests.sh" --tree "$tree"; then
		ok=ok passed=$((passed + 1))
	else
		ok='not ok' failed=$((failed + 1))
	fi
	echo "$ok $n builds: $subject"
done
rm -rf "$tree"
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
