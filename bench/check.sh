#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Hold the figures of run.sh against goals.tab; and each bitmap figure of the
# patched kernel against the unpatched one's, which it may exceed by 1 %.
#
#   bench/check.sh CSV

. "$(dirname "$0")/../scripts/lib.sh"
. "$TOP/bench/lib.sh"

[ $# -eq 1 ] || die "usage: bench/check.sh CSV"
[ -s "$1" ] || die "no figures at $1"

# The bitmap figures of the unpatched kernel, as goals.
unchanged() {
	awk -F, '$2 == "base" && $3 == "bitmap" {
		rest = $3 "," $4 "," $5
		print $1 ",host," rest ",run", 1.01, $1 ",base," rest ",run"
		print $1 ",host," rest ",collect", 1.01, $1 ",base," rest ",collect"
	}' "$1"
}

{ rows "$BENCH/goals.tab"; unchanged "$1"; } |
	awk -f "$BENCH/check.awk" -v csv="$1"
