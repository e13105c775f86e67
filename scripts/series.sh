#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The series as mails in out/, proved by git am on a pristine base.
#
#   [PART=NAME] [LINUX=...] scripts/series.sh [--check]
#
# All of it goes to out/v5.10, one part with its own cover letter to
# out/v5.10-NAME. A part is proved on the base with the parts that it needs. With
# --check, all of it is proved, and each part (with PART, that one); nothing is
# left in out/.
#
# Cover letters are patches/v5.10/cover-letter and patches/v5.10/NAME/cover-letter:
# subject, empty line, text.

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/parts.sh"
plain_git

repo=$BUILD/series/linux

# A repository of its own for branch configuration and for what git am does.
prepare() {
	rm -rf "$BUILD/series"
	mkdir -p "$BUILD/series"
	git clone -q --shared --no-checkout --branch base "$base" "$repo"
}

# How many steps of a part this base does not have yet.
steps_left() {
	local of p since n=0
	while read -r of p since; do
		[ "$of" != "$1" ] || in_stable "$since" "$version" || n=$((n + 1))
	done < <(steps "$PATCHES/series")
	echo $n
}

# The commits of the whole, or of part $1: sets $from and $to.
range() {
	if [ -n "$1" ]; then
		to=$("$TOP/scripts/commit-series.sh" --part "$1" "$base" 2>/dev/null)
		from=$(git --git-dir "$base" rev-parse "$to~$(steps_left "$1")")
	else
		to=$("$TOP/scripts/commit-series.sh" "$base")
		from=$(git --git-dir "$base" rev-parse base)
	fi
}

# cover_letter [PART]: its text, and what it applies to.
cover_letter() {
	local needs
	cat "$PATCHES/${1:+$1/}cover-letter"
	echo
	echo "Applies to: Linux $version"
	[ -n "$1" ] || return 0
	needs=$(needed_parts "$PATCHES/series" "$1" | grep -vxF -- "$1" | paste -sd' ') || :
	[ -z "$needs" ] || echo "Needs: the parts $needs, in this order"
}

# format OUT [PART]
format() {
	local letter=$PATCHES/${2:+$2/}cover-letter
	[ -f "$letter" ] || die "${letter#"$TOP"/} is missing"
	rm -rf "$1"
	git -C "$repo" update-ref refs/heads/series "$to"
	git -C "$repo" config branch.series.description "$(cover_letter "${2:-}")"
	git -C "$repo" format-patch -q --subject-prefix="PATCH ${BASE#v}" \
		--cover-letter --cover-from-description=subject --numbered \
		--no-renames --abbrev=12 --no-signature -o "$1" "$from..series"
}

# The mails must give the tree that they were made from. Only the folders that
# they touch are checked out; the others take part by git's index.
prove() {
	git -C "$repo" diff --name-only --no-renames "$from" "$to" |
		xargs dirname | sort -u |
		git -C "$repo" sparse-checkout set --cone --stdin
	git -C "$repo" checkout -q -f --detach "$from"
	find "$1" -name '*.patch' ! -name '0000-*' | sort |
		xargs git -C "$repo" am -q --no-3way
	[ "$(git -C "$repo" rev-parse 'HEAD^{tree}')" = \
		"$(git -C "$repo" rev-parse "$to^{tree}")" ] ||
		die "git am gives another tree than the series"
}

# make_mails OUT [PART]
make_mails() {
	range "${2:-}"
	format "$@"
	step "git am: ${2:-the whole} on Linux $version" prove "$1"
}

case $* in
'') ;;
--check) ;;
*) die "usage: [PART=NAME] ${0##*/} [--check]" ;;
esac
[ -z "${PART:-}" ] || needed_parts "$PATCHES/series" "$PART" >/dev/null
base=$("$TOP/scripts/base.sh")
version=$(kernel_version "$base" base)
prepare
if [ $# -eq 0 ]; then
	out=out/$BASE${PART:+-$PART}
	make_mails "$TOP/$out" "${PART:-}"
	say "series: $(find "$TOP/$out" -name '*.patch' | wc -l) mails in $out"
elif [ -n "${PART:-}" ]; then
	make_mails "$BUILD/series/mails" "$PART"
else
	make_mails "$BUILD/series/mails"
	while read -r part; do
		make_mails "$BUILD/series/mails" "$part"
	done < <(part_names "$PATCHES/series")
fi
rm -rf "$BUILD/series"
