#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Take the commits of build/linux home: new files to their paths here, edits of
# Linux's files to patches/, all in one fixed form.
#
#   [WHOLE="PATH ..."] scripts/refresh.sh [--from TREE]
#
# With --from, the commits base..HEAD of another git tree. A file of the base
# that is rewritten is taken as a whole: one that is at its path here, or is
# named by WHOLE. Nothing changes here unless the result gives the same tree.
#
# A step stays in its part as long as its subject stays. A new one is in the part
# of the step before it. A step that this base has already keeps its place.

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/parts.sh"
plain_git

stage=$BUILD/refresh
out=$stage/patches/$BASE

src() { git -C "$from" "$@"; }

# Only these options decide about a diff, no configuration does.
normal_diff() {
	src --literal-pathspecs -c core.attributesFile=/dev/null \
		diff-tree -p --no-commit-id --no-renames --no-color \
		--no-ext-diff --no-textconv --abbrev=12 -U3 \
		--diff-algorithm=myers --indent-heuristic "$@"
}

# part_of SUBJECT: where a step goes that comes behind one of $part. Parts come one
# after the other, so a step that was moved into another part belongs there.
part_of() {
	local old
	old=$(grep -lFx "Subject: $1" -r "$PATCHES" --include='*.patch' \
		2>/dev/null | head -n 1) || true
	old=$(basename "$(dirname "$old")")
	if part_names "$PATCHES/series" | sed -n "/^$part\$/,\$p" | grep -qxF "$old"; then
		echo "$old"
	else
		echo "$part"
	fi
}

# The steps that this base has, as "PREDECESSOR LINE", a line of series. The first
# has the predecessor "-".
left_out() {
	local of p since before=-
	while read -r of p since; do
		! in_stable "$since" "$version" || echo "$before $p $since"
		before=$p
	done < <(steps "$PATCHES/series")
}

# Put the steps that were left out where they were: behind the predecessor, or, if
# there is none any more, at the end of the part.
put_back() {
	local before line p
	left_out | while read -r before line; do
		p=${line%% *}
		mkdir -p "$(dirname "$out/$p")"
		cp "$PATCHES/$p" "$out/$p"
		if [ "$before" = - ]; then
			sed -i "1i $line" "$out/series"
			continue
		fi
		if ! grep -qE "^$before( |\$)" "$out/series"; then
			before=$(grep "^${p%%/*}/" "$out/series" | tail -n 1) ||
				die "$p: its part has no other step; put it back by hand"
			before=${before%% *}
		fi
		awk -v before="$before" -v line="$line" '
			{ print } $1 == before { print line }' \
			"$out/series" >"$out/series.new"
		mv "$out/series.new" "$out/series"
	done
}

# The headings, each with its steps below; what was above the first stays.
write_headings() {
	local name
	{
		sed '/^# part /,$d' "$PATCHES/series"
		while read -r name; do
			grep -E "^# part $name( |:)" "$PATCHES/series"
			grep "^$name/" "$out/series" || :
			echo
		done < <(part_names "$PATCHES/series")
	} | sed '$d' >"$out/series.new"
	mv "$out/series.new" "$out/series"
}

# Is PATH brought as a whole file: one of ours, or rewritten?
whole() {
	src cat-file -e "base:$1" 2>/dev/null || return 0
	[[ " ${WHOLE:-} " = *" $1 "* ]] ||
		{ [ -f "$TOP/$1" ] && in_new_dirs "$1"; }
}

in_new_dirs() {
	local d
	for d in "${NEW_DIRS[@]}"; do
		[ "${1%%/*}" != "$d" ] || return 0
	done
	return 1
}

take_whole() {
	local c=$1 f=$2
	in_new_dirs "$f" ||
		die "$f: new files stand in ${NEW_DIRS[*]}, no other folder"
	[ ! -e "$stage/$f" ] && src cat-file -e "$c:$f" 2>/dev/null ||
		die "$f: more than one commit changes it; it is brought whole, squash them"
	mkdir -p "$(dirname "$stage/$f")"
	src cat-file blob "$c:$f" >"$stage/$f"
	case $(src ls-tree "$c" -- "$f") in
	100755*) chmod +x "$stage/$f" ;;
	esac
}

# One commit, as the next step; $part is the part of the one before.
take_commit() {
	local c=$1 f subject name edited=() files=()
	subject=$(src log -1 --format=%s "$c")
	while read -r f; do
		if whole "$f"; then
			take_whole "$c" "$f"
			files+=("$f")
		else
			edited+=("$f")
		fi
	done < <(src diff-tree -r --name-only --no-renames --no-commit-id "$c")
	[ $((${#files[@]} + ${#edited[@]})) -gt 0 ] ||
		die "'$subject' changes nothing"
	part=$(part_of "$subject")
	name=$part/$(src log -1 --format=%f "$c" | cut -c1-60 |
		sed 's/[-.]*$//').patch
	[ ! -e "$out/$name" ] || die "two steps would be $name: '$subject'"
	mkdir -p "$(dirname "$out/$name")"
	{
		src log -1 --format='From: %an <%ae>%nSubject: %s' "$c"
		[ ${#files[@]} -eq 0 ] ||
			printf 'New-files: %s\n' "${files[@]}" |
			sed '2,$s/^New-files://'
		echo
		src log -1 --format=%b "$c" | git stripspace
		echo ---
		[ ${#edited[@]} -eq 0 ] ||
			normal_diff "$c^" "$c" -- "${edited[@]}"
	} >"$out/$name"
	echo "$name" >>"$out/series"
}

# Both the changes and the messages must come out as they went in.
verify() {
	cmp -s <(changes --git-dir "$base" "$tip") <(changes -C "$from" HEAD) ||
		die "the patches do not give the same tree again: $from has another base"
	cmp -s <(messages --git-dir "$base" "$tip") <(messages -C "$from" HEAD) ||
		die "a message would change: no line in it may look like a diff"
}

changes() { git "$1" "$2" diff-tree -r --no-renames base "$3"; }

messages() {
	git "$1" "$2" log --format='%an <%ae>%n%s%n%b' "base..$3" |
		git stripspace
}

install_stage() {
	local p f
	mkdir -p "$PATCHES"
	for p in "$PATCHES"/*/*.patch; do
		[ ! -f "$p" ] || new_files "$p"
	done | while read -r f; do
		[ -e "$stage/$f" ] || rm -f "${TOP:?}/$f"
	done
	rsync -rp --checksum --delete --exclude=cover-letter --exclude=/base \
		"$out/" "$PATCHES/"
	rsync -rp --checksum --exclude=/patches "$stage/" "$TOP/"
}

# Neither side may have moved on: the tree must be clean, and the repository
# must still be what the tree was made from.
check_sides() {
	local home tip
	[ -z "$(src status --porcelain)" ] ||
		die "build/linux has changes that are not committed"
	home=$(src rev-parse refs/series/home)
	tip=$("$TOP/scripts/commit-series.sh" "$base")
	[ "$tip" = "$home" ] || die "patches or new files changed here since 'make tree'; put both together:
  git -C build/linux rebase --onto $tip $home &&
  git -C build/linux update-ref refs/series/home $tip"
}

from=$BUILD/linux
if [ $# -eq 2 ] && [ "$1" = --from ]; then
	from=$2
	base=$("$TOP/scripts/base.sh")
elif [ $# -eq 0 ]; then
	[ -d "$from" ] || die "no build/linux: 'make tree' first"
	base=$(src config series.base)
	check_sides
else
	die "usage: ${0##*/} [--from TREE]"
fi
src rev-parse -q --verify base >/dev/null || die "$from has no ref 'base'"
[ -z "$(src rev-list --merges base..HEAD)" ] || die "$from: merges in base..HEAD"

rm -rf "$stage"
mkdir -p "$out"
: >"$out/series"
check_series "$PATCHES/series"
version=$(kernel_version "$base" base)
part=$(part_names "$PATCHES/series" | head -n 1)
for c in $(src rev-list --reverse base..HEAD); do
	take_commit "$c"
done
put_back
n=$(wc -l <"$out/series")
write_headings
tip=$("$TOP/scripts/commit-series.sh" "$base" "$stage")
verify
install_stage
rm -rf "$stage"
if [ "$from" = "$BUILD/linux" ]; then
	src update-ref -m refresh HEAD "$tip"
	src update-ref refs/series/home "$tip"
fi
say "series: $n steps in patches/$BASE"
