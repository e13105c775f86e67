# SPDX-License-Identifier: GPL-2.0
# Stock QEMU migrates a running guest on the booted host. Sourced by lab/run.sh.
#
#	N=10	how often the test `again` migrates
#
# Tests that account for their costs (-a) leave them in out/migrate.csv and
# out/migrate-syncs.csv.
# shellcheck shell=bash disable=SC2034,SC2154

keys_of_all=alone=1
set=${set:-all} bin=${bin:-$BUILD/migrate} N=${N:-10}
[[ $N =~ ^[1-9][0-9]*$ ]] || die "not a number of times: $N"

# VT-x machines have no room for the new QEMU.
prepare() {
	"$SUITE/build.sh"
	[ "$hws" = vtx ] || "$SUITE/pack.sh"
}

adjust() {
	local unpack='' qemu=./qemu-system-x86_64
	[[ $command != *@N@* ]] || limit=$((limit * N))
	command=${command//@N@/$N}
	command=${command//@FULL@/$((TIMES > 1 ? 1 : 100))}
	if [[ $command = @NEW@* ]]; then
		unpack='tar -x -f ./new-qemu.tar -C /tmp && '
		qemu=/tmp/new-qemu/qemu
	fi
	command="${unpack}migrate ${command#@NEW@} $qemu ./guest.bin"
	# Bochs stands still once in fifteen such runs.
	[ "$HW" != vtx ] || extra+=" again=1"
}

title() { echo "$MACHINE: migrate $name"; }

# A mutant must be noticed, and by the guest or by the order of what it says.
turn() {
	local said
	[ "$kernel" = lose-entries.patch ] || return 0
	said=$(grep -a -m 1 '^FAIL: the guest' "$text") || :
	if [ "$what" = fail ] && [ -n "$said" ]; then
		what=pass reason="noticed: ${said#FAIL: }"
	else
		reason="the mutant survived: $what $reason" what=fail
	fi
}

notes() {
	text_of "$text" | grep -E '^(migration [0-9]+:|dirty rate:|QEMU:|[0-9]+ migrations)' |
		tail -n 4
}

# csv KIND FILE COLUMNS: what tests say of KIND, with hw, guest and tracking.
csv() {
	local job name
	echo "hw,guest,tracking,$3" >"$2"
	for job in "${jobs[@]}"; do
		name=${job#*-}
		sed -n "s/^csv,$1,/${job%%-*},${name%-*},${name##*-},/p" \
			"$logs/$job/$name.out" 2>/dev/null || :
	done >>"$2"
	say "figures: ${2#"$TOP"/}"
}

figures() {
	grep -q -- ' -a ' <<<"${plans[*]}" || return 0
	mkdir -p "$TOP/out"
	csv migration "$TOP/out/migrate.csv" "migration,total_ms,downtime_ms,syncs,bytes,pages,sync_ticks,sync_kernel_ticks,reap_ticks,clear_ticks,full_exits"
	csv sync "$TOP/out/migrate-syncs.csv" "migration,sync,pages,ticks,kernel_ticks,ioctls"
}
