#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Save vCPUs in all states of state_file_test on one kernel and load them on
# another: on one machine, from the unpatched base to ours and back.
#
#	suites/compat/both-ways.sh MACHINE
#
# The files stay in build/compat/MACHINE/.

. "$(dirname "$0")/../../scripts/lib.sh"

[ $# -eq 1 ] || die "usage: ${0##*/} MACHINE"
machine=$1
dir=$BUILD/compat/$machine
failed=0

# boot KERNEL COMMAND...: commands are those of on-host.sh.
boot() {
	local kernel=$1
	shift
	"$TOP/lab/boot.sh" --hw "${machine%%-*}" --machine "$machine" \
		--kernel "$BUILD/$kernel/bzImage" --bin "$dir/bin" \
		--with "$(cd "$dir/bin" && find . -type f -printf '%P ')" \
		--timeout 400 on-host.sh "$@" >"$dir/output"
}

# Put the files that a boot has printed, base64 in between two marks, into FILE.
files_to() {
	sed -n '/^@files$/,/^@end$/p' "$dir/output" | sed '1d;$d' |
		tr -d '\r' | base64 -d >"$dir/bin/$1"
	tar tzf "$dir/bin/$1" >/dev/null
}

results() { grep -E '^(ok|not ok|#)' "$dir/output" || :; }

# What the base does not survive, or hangs with: see the fixes in docs/tests.md.
case $machine in
svm-npt0) cannot_save=real-mode,-SMEP cannot_load=real-mode,-SMEP ;;
svm*) cannot_save=- cannot_load=L2-with-nested-paging ;;
*) cannot_save=- cannot_load=- ;;
esac

# verdict FROM TO CODE: what a boot says about files of one kernel on another.
verdict() {
	local of
	of=$(results | grep -c '^ok [0-9]* [^#]') || :
	if [ "$3" -eq 0 ] && [ "$of" -gt 0 ]; then
		echo "ok: saved on $1, loaded on $2: $of states"
		return
	fi
	echo "not ok: saved on $1, loaded on $2: exit code $3"
	results | grep -v '^ok'
	failed=1
}

rm -rf "$dir"
mkdir -p "$dir/bin"
cp "$TOP/suites/compat/on-host.sh" "$BUILD/selftests/x86_64/state_file_test" \
	"$dir/bin/"

boot base save "$cannot_save" || { results; die "$machine: the base saves nothing"; }
files_to base.tgz || die "$machine: the base's files are broken"
code=0
boot host load base.tgz - save - || code=$?
verdict "the base" "ours" $code
files_to host.tgz || die "$machine: our files are broken"

code=0
boot base load host.tgz "$cannot_load" || code=$?
verdict "ours" "the base" $code
exit $failed
