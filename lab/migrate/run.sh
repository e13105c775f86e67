#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Stock QEMU migrates a running guest on the booted host: the rows of rows.tab, one
# boot each. KTAP on stdout, and as its last line "N passed, N failed, N skipped".
#
#   lab/migrate/run.sh [options]
#	--hw "HW ..."	svm, vtx, kvm (svm and vtx)
#	--kernel FILE	the host kernel (build/host/bzImage)
#	--set NAME	check or all: which rows (all)
#	--rows "NAME ..." only these, whatever set they belong to
#	--times N	how often the row `again` migrates (10)
#	--logs DIR	one folder a boot goes there (build/logs/migrate)
#
# Rows that account for their costs (-a) leave them in out/migrate.csv and
# out/migrate-syncs.csv, if any ran.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"
# shellcheck source=lab/lib.sh
. "$TOP/lab/lib.sh"
# shellcheck source=lab/judge.sh
. "$TOP/lab/judge.sh"
# shellcheck source=lab/tables.sh
. "$TOP/lab/tables.sh"

here=$LAB/migrate
programs='migrate qemu-system-x86_64 guest.bin'

usage() { sed -n '/^#   lab/,/^$/s/^#//p' "$0" >&2; exit 1; }

hws='svm vtx' kernel=$BUILD/host/bzImage set=all names='' times=10
logs=$BUILD/logs/migrate
while [ $# -gt 0 ]; do
	[ $# -ge 2 ] || usage
	case $1 in
	--hw) hws=$2 ;;
	--kernel) kernel=$2 ;;
	--set) set=$2 ;;
	--rows) names=$2 ;;
	--times) times=$2 ;;
	--logs) logs=$2 ;;
	*) usage ;;
	esac
	shift 2
done

# The jobs, one a line: "hw name limit kernel options". A kvm host is one of
# the two others, and does what either does.
pick_jobs() {
	local hw name sets where limit host options
	for hw in $hws; do
		while read -r name sets where limit host options; do
			if [ -n "$names" ]; then
				[[ " $names " = *" $name "* ]] || continue
			else
				[[ ,$sets, = *,$set,* ]] || continue
			fi
			[ "$hw" = kvm ] || [[ ,$where, = *,$hw,* ]] || continue
			[[ $options != *@N@* ]] || limit=$((limit * times))
			echo "$hw $name $limit $host ${options//@N@/$times}"
		done < <(rows "$here/rows.tab")
	done
}

check_words() {
	local word known
	known=$(rows "$here/rows.tab" | awk '{ print $1 }')
	for word in $names; do
		grep -qxF "$word" <<<"$known" || die "no such row: $word"
	done
	[[ $times =~ ^[1-9][0-9]*$ ]] || die "not a number of times: $times"
	[ -f "$kernel" ] || die "no kernel at $kernel"
}

# A mutant is a patch of build/linux that breaks it, see verification/mutants.sh.
mutate() {
	local tree=$BUILD/mutants/linux
	mkdir -p "$BUILD/mutants"
	[ -d "$tree" ] || git clone -q --shared "$BUILD/linux" "$tree"
	git -C "$tree" fetch -q "$BUILD/linux" HEAD
	git -C "$tree" checkout -q -f --detach FETCH_HEAD
	git -C "$tree" apply "$here/$1.patch"
	"$TOP/scripts/kernel.sh" --tree "$tree" >"$work/$1.kernel"
}

# The kernels that the jobs need, one file for each.
prepare_kernels() {
	local name
	awk '$4 != "host" { print $4 }' "$work/jobs" | sort -u |
		while read -r name; do
			locked migrate-mutant mutate "$name"
		done
}

kernel_of() {
	if [ "$1" = host ]; then
		echo "$kernel"
	else
		echo "$(cat "$work/$1.kernel")/bzImage"
	fi
}

# One boot into $dir; sets verdict and reason.
boot_once() {
	local why
	mkdir -p "$dir"
	echo "1 $limit $command" >"$dir/plan"
	echo "1 $command" >"$dir/init-plan"
	initramfs "$dir/initrd" "$dir/init-plan" "$BUILD/migrate" "$programs"
	why=$(run_boot "$dir")
	if [ -e "$dir/1.out" ]; then
		faults_in "$dir/boot.out" >>"$dir/1.out" || :
		read -r verdict reason < <(judge "$dir/1.out" "$why" "$limit")
	else
		: >"$dir/1.out"
		verdict=fail reason="the machine did not come up ($why)"
	fi
}

# What only a machine that stands still gives; Bochs does, once in fifteen.
stalled() {
	[[ $HW = vtx && $verdict = fail ]] &&
		[[ $reason = "no end within"* || $reason = *"(silent)"* ]]
}

# A mutant must be noticed, and by the guest or by the order of what it says.
turn_verdict() {
	local said
	said=$(grep -a '^FAIL: the guest' "$dir/1.out" | head -n 1) || :
	if [ "$verdict" = fail ] && [ -n "$said" ]; then
		verdict=pass reason="noticed: ${said#FAIL: }"
	else
		reason="the mutant survived: $verdict $reason" verdict=fail
	fi
}

# figures KIND JOB-FOLDER HW NAME: the lines of a row's account, as CSV. NAME is
# GUEST-TRACKING.
figures() {
	[ ! -e "$2/1.out" ] || text_of "$2/1.out" |
		sed -n "s/^csv,$1,/$3,${4%-*},${4##*-},/p"
}

write_figures() {
	local hw name limit host options
	grep -q -- ' -a' "$work/jobs" || return 0
	mkdir -p "$TOP/out"
	echo "hw,guest,tracking,migration,total_ms,downtime_ms,syncs,bytes,pages,sync_ticks,sync_kernel_ticks,reap_ticks,clear_ticks,full_exits" \
		>"$TOP/out/migrate.csv"
	echo "hw,guest,tracking,migration,sync,pages,ticks,kernel_ticks,ioctls" \
		>"$TOP/out/migrate-syncs.csv"
	while read -r hw name limit host options; do
		figures migration "$logs/$hw-$name" "$hw" "$name" \
			>>"$TOP/out/migrate.csv"
		figures sync "$logs/$hw-$name" "$hw" "$name" \
			>>"$TOP/out/migrate-syncs.csv"
	done <"$work/jobs"
	say "figures: out/migrate.csv, out/migrate-syncs.csv"
}

# run_job NUMBER HW NAME LIMIT KERNEL OPTIONS: its KTAP to a file.
run_job() {
	local n=$1 hw=$2 name=$3 limit=$4 host=$5 options=$6
	local dir verdict reason line title="$2: migrate $3"
	local command="migrate $options qemu-system-x86_64 guest.bin"
	KERNEL=$(kernel_of "$host")
	load_machine "$(first_machine "$hw")"
	# Accounts are in instructions. (On Bochs ticks always are.)
	[[ " $options " != *" -a "* ]] || export ICOUNT=1
	command=${command//@FULL@/$((TIMES > 1 ? 1 : 100))}
	command=${command/ qemu-/ /lab/qemu-}
	command=${command/ guest.bin/ /lab/guest.bin}
	dir=$logs/$hw-$name
	boot_once
	if stalled; then
		echo "# $title: retried, it stalled (${dir#"$TOP"/}.stalled)" |
			tee "$work/$n" >&2
		mv "$dir" "$dir.stalled"
		boot_once
	fi
	[ "$host" = host ] || turn_verdict
	line="ok $n $title"
	[ "$verdict" = pass ] || line="not ok $n $title"
	{
		echo "$line"
		[ "$verdict" = pass ] && [ "$host" = host ] || echo "# $reason"
		if [ "$verdict" = pass ]; then
			text_of "$dir/1.out" | grep -E '^(migration [0-9]+:|QEMU:|[0-9]+ migrations)' |
				tail -n 3 | sed 's/^/#   /' || :
		else
			echo "# log: ${dir#"$TOP"/}"
			text_of "$dir/1.out" | tail -n 20 | sed 's/^/#   /'
		fi
	} >>"$work/$n"
	say "$line"
}

# As many boots at a time as there are CPUs, each in a process group of its own
# (set -m), to be ended with all that it started.
run_all() {
	local n=0 running=0 hw name limit host options pid
	set -m
	trap 'for pid in $(jobs -p); do kill -- "-$pid" || :; done 2>/dev/null' EXIT
	trap 'exit 1' INT TERM
	while read -r hw name limit host options; do
		n=$((n + 1))
		if [ "$running" -ge "$JOBS" ]; then
			wait -n || :
			running=$((running - 1))
		fi
		run_job "$n" "$hw" "$name" "$limit" "$host" "$options" </dev/null &
		running=$((running + 1))
	done <"$work/jobs"
	wait
	trap - EXIT INT TERM
}

# No verdict, no pass.
report() {
	local n passed=0 failed=0 total
	total=$(wc -l <"$work/jobs")
	echo "KTAP version 1"
	echo "1..$total"
	for ((n = 1; n <= total; n++)); do
		[ -s "$work/$n" ] || echo "not ok $n no verdict" >"$work/$n"
		cat "$work/$n"
		if grep -q "^ok $n " "$work/$n"; then
			passed=$((passed + 1))
		else
			failed=$((failed + 1))
		fi
	done
	echo "$passed passed, $failed failed, 0 skipped"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

check_words
rm -rf "$logs"
mkdir -p "$logs"
logs=$(cd "$logs" && pwd)
work=$logs/verdicts
mkdir "$work"
pick_jobs >"$work/jobs"
[ -s "$work/jobs" ] || die "no such row on this hardware"
for word in $hws; do
	"$LAB/setup.sh" "$word"
done
"$here/build.sh"
prepare_kernels
run_all
write_figures
report
