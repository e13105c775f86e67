#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The series as mails in out/v5.10/, proved by git am on a pristine base.
#
#   scripts/series.sh [--check]
#
# The cover letter is patches/v5.10/cover-letter: subject, empty line, text.
# With --check nothing is left in out/.

. "$(dirname "$0")/lib.sh"
plain_git

tree=$BUILD/linux
out=$TOP/out/$BASE

format() {
	rm -rf "$out"
	git -C "$tree" config branch.series.description "$(cat "$PATCHES/cover-letter")"
	git -C "$tree" format-patch -q --subject-prefix="PATCH ${BASE#v}" \
		--cover-letter --cover-from-description=subject --numbered \
		--no-renames --abbrev=12 --no-signature -o "$out" base..series
}

# The mails must give the tree that they were made from. Only the folders that
# they touch are checked out; the others take part by git's index.
prove() {
	local copy=$BUILD/am
	rm -rf "$copy"
	git clone -q --shared --no-checkout --branch base \
		"$(git -C "$tree" config series.base)" "$copy"
	git -C "$tree" diff --name-only --no-renames base series |
		xargs dirname | sort -u |
		git -C "$copy" sparse-checkout set --cone --stdin
	git -C "$copy" checkout -q
	find "$out" -name '*.patch' ! -name '0000-*' | sort |
		xargs git -C "$copy" am -q --no-3way
	[ "$(git -C "$copy" rev-parse 'HEAD^{tree}')" = \
		"$(git -C "$tree" rev-parse 'series^{tree}')" ] ||
		die "git am gives another tree than build/linux"
	rm -rf "$copy"
}

case $* in
'') ;;
--check) out=$BUILD/series ;;
*) die "usage: ${0##*/} [--check]" ;;
esac
[ -d "$tree" ] || die "no build/linux: 'make tree' first"
[ -f "$PATCHES/cover-letter" ] || die "patches/$BASE/cover-letter is missing"
format
step "apply the series with git am to a pristine base" prove
if [ $# -eq 0 ]; then
	say "series: $(find "$out" -name '*.patch' | wc -l) mails in out/$BASE"
else
	rm -rf "$out"
fi
