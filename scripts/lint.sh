#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What can be checked without booting: patches and C by the kernel's checkpatch,
# sparse and gcc's extra warnings, shell by shellcheck, and that nothing stands
# here that does not belong. KTAP on stdout, and the closing line.
#
#   scripts/lint.sh

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/ktap.sh"
plain_git

tree=$BUILD/linux

# Sign-offs are the sender's to add; the base has no history to look up commits in;
# MAINTAINERS names folders that our files are in, or has a patch. It runs in
# the tree, where what it leaves behind is ignored.
checkpatch() {
	cd "$tree"
	scripts/checkpatch.pl --no-tree --quiet --no-summary --show-types \
		--no-signoff --ignore FILE_PATH_CHANGES,UNKNOWN_COMMIT_ID \
		--typedefsfile <(echo FILE) "$@"
}

# A step as a whole, with its new files.
check_step() {
	git -C "$tree" format-patch -1 --no-renames --stdout "$1" | checkpatch -
}

# Advice that is for the kernel's own C only, or does not know TRACE_EVENT.
not_for() {
	case $1 in
	include/trace/*) echo PARENTHESIS_ALIGNMENT,OPEN_ENDED_LINE ;;
	include/* | arch/* | virt/*) echo FILE_PATH_CHANGES ;;
	*) echo PREFER_KERNEL_TYPES,CAMELCASE,BIT_MACRO,ARCH_DEFINES,MACRO_ARG_REUSE ;;
	esac
}

check_file() {
	local f=$1
	[ -f "$tree/$f" ] || f=$TOP/$f
	checkpatch --strict --ignore "$(not_for "$1")" --file "$f"
}

check_warnings() {
	local ours
	"$TOP/scripts/kernel.sh" warnings
	ours=$(git -C "$tree" diff -U0 --no-renames base HEAD |
		awk -f "$TOP/scripts/filter-warnings.awk" - "$BUILD/lint/warnings")
	[ -z "$ours" ] || { echo "$ours"; return 1; }
}

# What git knows of or would add.
files() { git -C "$TOP" ls-files -co --exclude-standard -- "$@"; }

check_shell() {
	files '*.sh' lab/init .ci/run | xargs -r shellcheck
}

check_text() {
	local binary
	binary=$(files | xargs -r grep -IL '' 2>/dev/null) || true
	[ -z "$binary" ] || die "binary or empty: $binary"
}

check_paths() { ! files | xargs -r grep -nE '/(root|home|work)/'; }

check_licences() {
	local bare
	bare=$(files '*.sh' '*.[chS]' '*.awk' '*.config' '*.rst' Makefile |
		xargs -r grep -L SPDX-License-Identifier) || true
	[ -z "$bare" ] || die "no SPDX line: $bare"
}

[ $# -eq 0 ] || die "usage: ${0##*/}"
[ -d "$tree" ] || die "no build/linux: 'make tree' first"
cd "$TOP"
say "lint ..."
for c in $(git -C "$tree" rev-list --reverse base..HEAD); do
	check "checkpatch: $(git -C "$tree" log -1 --format=%s "$c")" check_step "$c"
done
while read -r f; do
	check "checkpatch --strict: $f" check_file "$f"
done < <(files '*.[ch]')
check "sparse and W=1: no warning about our lines" check_warnings
check "shellcheck" check_shell
check "all files are text" check_text
check "no path of one machine" check_paths
check "all files name their licence" check_licences
total
