#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Do the scripts that make the series, and take it home, refuse what they must?
# Tried on a small series and small bases, made by hand. KTAP on stdout.
#
#   scripts/selfcheck.sh

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/ktap.sh"

work=$BUILD/selfcheck
root=$work/repo
series=$root/patches/$BASE/series
export XDG_CACHE_HOME=$work/cache
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@localhost
export GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@localhost

# make_base VERSION FILE-LINE: a folder with a kernel's Makefile and one source.
make_base() {
	local dir=$work/linux-$1
	mkdir -p "$dir/kernel" "$dir/virt"
	printf '%s\n' "VERSION = ${1%%.*}" "PATCHLEVEL = $(cut -d. -f2 <<<"$1")" \
		"SUBLEVEL = ${1##*.}" 'EXTRAVERSION =' 'NAME = Test' >"$dir/Makefile"
	printf '%s\n' '/*' '*.o' >"$dir/.gitignore"
	printf '%s\n' one two "$2" four five six seven eight nine >"$dir/kernel/a.c"
	printf '%s\n' one two three >"$dir/kernel/b.c"
}

# patch_file NAME SUBJECT NEW-FILES: the diff comes on stdin.
patch_file() {
	mkdir -p "$(dirname "$root/patches/$BASE/$1")"
	{
		printf '%s\n' 'From: A <a@localhost>' "Subject: $2"
		[ -z "$3" ] || echo "New-files: $3"
		printf '%s\n' '' 'Why it is so.' '---'
		cat
	} >"$root/patches/$BASE/$1"
}

# A series of three steps: one that stable has since 5.10.9, one that edits, one
# that brings a file.
make_series() {
	rm -rf "$root"
	mkdir -p "$root/virt" "$root/patches/$BASE"
	cp -r "$TOP/scripts" "$root/"
	cp "$PATCHES/base" "$root/patches/$BASE/"
	echo 'int x;' >"$root/virt/new.c"
	patch_file early/Fix-three.patch 'Fix three' '' <<-'END'
		diff --git a/kernel/a.c b/kernel/a.c
		--- a/kernel/a.c
		+++ b/kernel/a.c
		@@ -1,6 +1,6 @@
		 one
		 two
		-three
		+THREE
		 four
		 five
		 six
	END
	patch_file early/Change-nine.patch 'Change nine' '' <<-'END'
		diff --git a/kernel/a.c b/kernel/a.c
		--- a/kernel/a.c
		+++ b/kernel/a.c
		@@ -6,4 +6,4 @@ five
		 six
		 seven
		 eight
		-nine
		+NINE
	END
	patch_file late/Bring-a-file.patch 'Bring a file' virt/new.c </dev/null
	for p in . early late; do
		printf '%s\n' 'Letter' '' 'Text.' >"$root/patches/$BASE/$p/cover-letter"
	done
	cat >"$series" <<-END
		# What is above the first heading stays.

		# part early: the first
		early/Fix-three.patch since 5.10.9
		early/Change-nine.patch

		# part late needs early: the second
		late/Bring-a-file.patch
	END
}

# run VERSION SCRIPT...
run() {
	local base=$work/linux-$1 script=$root/scripts/$2
	shift 2
	LINUX=$base "$script" "$@"
}

# refused WHAT command...: an error that says WHAT, and nothing has changed.
refused() {
	local what=$1 before said rc=0
	shift
	before=$(state)
	said=$("$@" 2>&1) || rc=$?
	[ $rc -ne 0 ] || { echo "not refused"; return 1; }
	grep -q "error: .*$what" <<<"$said" || { echo "$said"; return 1; }
	[ "$before" = "$(state)" ] || { echo "something has changed"; return 1; }
}

state() { (cd "$root" && find patches virt -type f -print0 | sort -z | xargs -0 sha256sum); }

# line FILE TEXT, no_line FILE TEXT: of the tree that was made last
line() { git -C "$root/build/linux" show "HEAD:$1" | grep -qx "$2"; }
no_line() { if line "$@"; then return 1; fi; }

leaves_out() {
	local said
	said=$(run 5.10.10 tree.sh 2>&1)
	[ "$(grep -c 'Fix-three.patch: left out, Linux has it since 5.10.9' <<<"$said")" = 1 ]
	[ "$(git -C "$root/build/linux" rev-list --count base..HEAD)" = 2 ]
	line kernel/a.c NINE && line virt/new.c 'int x;'
}

applies() {
	run 5.10.8 tree.sh
	[ "$(git -C "$root/build/linux" rev-list --count base..HEAD)" = 3 ]
	line kernel/a.c THREE
}

notices_new_files() {
	no_line .gitignore '/\*'
	line .gitignore '\*\.o'
	grep -qx '/\*' "$work/linux-5.10.8/.gitignore"
	touch "$root/build/linux/kernel/c.c"
	[ -n "$(git -C "$root/build/linux" status --porcelain)" ]
	rm "$root/build/linux/kernel/c.c"
}

# The step that this base has keeps its place; a new one goes to the part before it.
takes_home() {
	local tree=$root/build/linux
	run 5.10.10 tree.sh
	echo four >>"$tree/kernel/b.c"
	git -C "$tree" commit -qam $'Add four\n\nBecause.'
	run 5.10.10 refresh.sh
	diff - "$series" <<-END
		# What is above the first heading stays.

		# part early: the first
		early/Fix-three.patch since 5.10.9
		early/Change-nine.patch

		# part late needs early: the second
		late/Bring-a-file.patch
		late/Add-four.patch
	END
	run 5.10.8 tree.sh
	line kernel/b.c four && line kernel/a.c THREE
}

unrefreshed() {
	run 5.10.8 tree.sh
	echo five >>"$root/build/linux/kernel/b.c"
	refused 'not taken home' run 5.10.8 tree.sh
	refused 'not committed' run 5.10.8 refresh.sh
	git -C "$root/build/linux" commit -qam $'Add five\n\nBecause.'
	echo 'int y;' >"$root/virt/new.c"
	refused 'changed here since' run 5.10.8 refresh.sh
}

mails() {
	run 5.10.8 series.sh
	[ "$(find "$root/out/$BASE" -name '*.patch' | wc -l)" = 4 ]
	PART=late run 5.10.8 series.sh
	grep -q 'Needs: the parts early' "$root/out/$BASE-late/0000"*
	[ "$(find "$root/out/$BASE-late" -name '*.patch' | wc -l)" = 2 ]
	run 5.10.10 series.sh --check
}

# broken_series SED: make_series, with its series changed
broken_series() {
	make_series
	sed -i "$1" "$series"
}

# with_series SED WHAT: the tree is refused for it
with_series() {
	broken_series "$1"
	refused "$2" run 5.10.8 tree.sh
}

tarball() {
	make_series
	tar -C "$work" -czf "$work/linux.tar.gz" linux-5.10.8
	LINUX=$work/linux.tar.gz "$root/scripts/tree.sh"
	line kernel/a.c THREE
	no_line .gitignore '/\*'
}

rm -rf "$work"
mkdir -p "$work"
make_base 5.10.8 three
make_base 5.10.10 THREE
make_base 5.10.12 3
make_base 5.15.8 three
make_series
check "a step that the base has is left out, with one line" leaves_out
check "an older base gets it" applies
check "git notices new files in the tree" notices_new_files
check "refresh keeps what was left out, and puts a new step into a part" takes_home
make_series
check "work that was not taken home is kept" unrefreshed
make_series
check "mails of the whole and of a part" mails
check "a tarball" tarball
make_series
check "no such part" env PART=none bash -c \
	"! $root/scripts/series.sh >/dev/null 2>$work/said && grep -q 'error: no such part: none (early late)' $work/said"
sed -i 's/ since 5.10.9//' "$series"
check "what does not apply is named: patch and file" \
	refused 'early/Fix-three.patch does not apply: .*kernel/a.c' run 5.10.12 tree.sh
make_series
check "another version" refused 'must be Linux 5.10.y, .* is 5.15' run 5.15.8 tree.sh
check "no such base" refused 'does not exist' run none tree.sh
check "a patch that is not in series" with_series /nine/d 'not in series: early/Change-nine'
check "a step without its patch" with_series 's/Change-nine/Change-ten/' 'in series, but not there: early.Change-ten'
check "a step below another part's heading" with_series 's,^early/Change,late/Change,' 'below the heading of early'
check "a part that needs a later one" with_series 's/early:/early needs late:/' 'early needs late, which does not come before'
check "a heading that is none" with_series 's/part late.*/part late, the second/' "not a part's heading"
check "a word behind a step" with_series 's/since 5.10.9/after 5.10.9/' 'is not .since VERSION'
make_series
touch "$root/virt/other.c"
check "a new file that no step brings" refused "in no patch's New-files: virt/other.c" run 5.10.8 tree.sh
make_series
sed -i 's/^ six$/ sixty/' "$root/patches/$BASE/early/Fix-three.patch"
check "no fuzz" refused 'early/Fix-three.patch does not apply' run 5.10.8 tree.sh
rm -rf "$work"
total
