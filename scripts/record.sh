#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Run COMMAND, which prints KTAP, and keep what it prints in build/results/NAME.ktap
# for `make report`. Lines above and below say what ran, of which commit, on what.
# The exit status is that of COMMAND.
#
#   [MADE_BY="make ..."] scripts/record.sh [--keep FILE]... NAME COMMAND...
#	--keep FILE	a table that COMMAND writes: kept as NAME.FILE's name
#
# A run of a part (TEST, MUTANT, PART) is no result, and is not kept.

. "$(dirname "$0")/lib.sh"

keep=()
while [ "${1:-}" = --keep ]; do
	keep+=("${2:?}")
	shift 2
done
[ $# -ge 2 ] || die "usage: ${0##*/} [--keep FILE]... NAME COMMAND..."
name=$1 results=${RESULTS:-$BUILD/results}
shift
[ -z "${TEST:-}${MUTANT:-}${PART:-}" ] || exec "$@"

# What stands here: a commit, and whether there is more.
commit() {
	local id more=
	id=$(git -C "$TOP" rev-parse --short=12 HEAD 2>/dev/null) || { echo unknown; return; }
	[ -z "$(git -C "$TOP" status --porcelain)" ] || more=-dirty
	echo "$id$more"
}

base() {
	local tree=$BUILD/linux origin
	[ -d "$tree" ] || { echo unknown; return; }
	origin=$(git -C "$tree" config series.base) || origin=
	git -C "$tree" show base:Makefile | awk -v origin="$(basename "$origin" .git)" '
		/^(VERSION|PATCHLEVEL|SUBLEVEL) = / { v = v (v ? "." : "") $3 }
		END { print v " (" origin ")" }'
}

# The lab's file knows the versions; QEMU may be the system's or the lab's own.
emulators() {
	# shellcheck source=lab/lib.sh
	. "$TOP/lab/lib.sh"
	case " ${HW:-vtx svm} " in *" vtx "*) echo "Bochs ${BOCHS_SOURCE#*=}" ;; esac
	case " ${HW:-vtx svm} " in
	*" svm "* | *" kvm "*)
		if [ "$(type -t qemu)" = function ]; then
			(qemu --version)
		else
			qemu-system-x86_64 --version
		fi 2>/dev/null | sed -n 's/^QEMU emulator version \([^ ]*\).*/QEMU \1/p'
		;;
	esac
}

mkdir -p "$results"
part=$results/.$name
{
	echo "# command: ${MADE_BY:-$*}"
	echo "# commit: $(commit)"
	echo "# base: $(base)"
	echo "# hardware: ${HW:-vtx svm}"
	echo "# emulators: $( (emulators) | paste -sd, | sed 's/,/, /g')"
	echo "# date: $(date -u +%F)"
} >"$part"
touch "$part.begin"
set +e
"$@" | tee -a "$part"
rc=${PIPESTATUS[0]}
set -e
if ! grep -qE '^((not )?ok |KTAP )' "$part"; then
	rm -f "$part" "$part.begin" # nothing ran: the last result stays
	exit "$rc"
fi
echo "# took: $(((SECONDS + 30) / 60)) min" >>"$part"
rm -f "$results/$name".*
mv "$part" "$results/$name.ktap"
for file in "${keep[@]}"; do
	[ ! "$file" -nt "$part.begin" ] || cp "$file" "$results/$name.${file##*/}"
done
rm -f "$part.begin"
exit "$rc"
