#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Run a suite's tests (its tests.tab) on the machines of machines.tab: KTAP on
# stdout, and as its last line "N passed, N failed, N skipped", with ", N retried"
# where any was.
#
#   lab/run.sh [SUITE] [options]
#	SUITE			a folder of suites/ (selftests)
#	--hw "HW ..."		vtx, svm, kvm (the best there is)
#	--kernel FILE		the host kernel (build/host/bzImage)
#	--base FILE		the unpatched one (build/base/bzImage)
#	--bin DIR		the test programs (build/selftests)
#	--set NAME		which machines and tests: run, smoke, full,
#				races, or what the suite has (run)
#	--tests "NAME ..."	only these, by name or by program, whatever
#				set they belong to
#	--machines "NAME ..."	only these, whatever set they belong to
#	--logs DIR		one folder a boot goes there (build/logs/SUITE)
#	--list			print what would run

. "$(dirname "$0")/../scripts/lib.sh"
. "$TOP/scripts/ktap.sh"
. "$TOP/lab/lib.sh"
. "$TOP/lab/judge.sh"
. "$TOP/lab/tables.sh"
. "$TOP/lab/options.sh"
. "$TOP/lab/job.sh"

# What a suite may say otherwise, in its suite.sh. suites/README.md lists the
# hooks.
keys_of_all=
tests() { rows "$SUITE/tests.tab"; }
adjust() { :; }
prepare() { :; }
title() { echo "$MACHINE: $command"; }
turn() { :; }
notes() { :; }
figures() { :; }

suite=selftests
if [[ $# -gt 0 && $1 != -* ]]; then
	suite=$1
	shift
fi
option=([hw]='' [kernel]=$BUILD/host/bzImage [base]=$BUILD/base/bzImage [bin]=''
	[set]='' [tests]='' [machines]='' [logs]=$BUILD/logs/$suite [list]=no)
options "$@"
[ ${#rest[@]} -eq 0 ] || usage
KERNEL=${option[kernel]} hws=${option[hw]:-$("$LAB/setup.sh" detect)}
set=${option[set]} bin=${option[bin]} logs=${option[logs]}
SUITE=$TOP/suites/$suite
[[ $suite != */* && -d $SUITE ]] ||
	die "no such suite: $suite ($(cd "$TOP/suites" && echo */))"
if [ -f "$SUITE/suite.sh" ]; then
	# shellcheck source=/dev/null
	. "$SUITE/suite.sh"
fi
set=${set:-run} bin=${bin:-$BUILD/selftests}

# Everything that can be wrong is told before anything is booted.
check_words() {
	local word sets row seen=' '
	for word in $hws; do
		case $word in
		vtx | svm | kvm) ;;
		*) die "no such hardware: $word (vtx, svm, kvm)" ;;
		esac
	done
	sets=$(awk '{ gsub(",", "\n", $2); print $2 }' < <(tests) | sort -u)
	grep -qxF -e "$set" <<<"$sets" ||
		die "no such set: $set (${sets//$'\n'/, })"
	for row in "${all_tests[@]}"; do
		load_test "$row"
		for word in ${option[tests]}; do
			! picked "$word" || seen+="$word "
		done
	done
	for word in ${option[tests]}; do
		[[ $seen = *" $word "* ]] || die "no such test: $word"
	done
	[ "${option[list]}" = yes ] || [ -f "$KERNEL" ] ||
		die "no kernel at $KERNEL"
}

# wanted: is the loaded test one that the loaded machine is to run?
wanted() {
	if [ -n "${option[tests]}" ]; then
		picked "${option[tests]}" || return 1
	else
		in_list "$set" "$sets" || return 1
	fi
	if [ -n "$on" ]; then
		in_list "$MACHINE" "$on" || return 1
	else
		[ -n "${option[machines]}" ] ||
			in_list "$set" "${machine_sets[$MACHINE]}" || return 1
	fi
	has "$needs"
}

# The jobs: machines, and what each is to run. A test that changes its machine,
# or wants to be alone, is a job of its own.
jobs=()
declare -A plans machine_of hardware
pick_jobs() {
	local machine row job machines=${option[machines]}
	[ -n "$machines" ] ||
		machines=$(for hw in $hws here; do machines_of "$hw"; done)
	for machine in $machines; do
		load_machine "$machine"
		for row in "${all_tests[@]}"; do
			load_test "$row"
			wanted || continue
			job=$machine${alone:+-$name}
			[[ -v plans[$job] ]] || jobs+=("$job")
			plans[$job]+=$row$'\n' machine_of[$job]=$machine
			hardware[$HW]=1
			[ "${option[list]}" = no ] ||
				echo "$machine: $name $needs $limit $command"
		done
	done
	[ ${#jobs[@]} -gt 0 ] || die "no test of that name fits these machines"
}

# weight: how many of this computer's CPUs the loaded machine keeps busy.
weight() {
	if [[ $HW = vtx || -n $ICOUNT ]]; then echo 1; else echo "$CPUS"; fi
}

# Start jobs in their order, each as soon as CPUs are free for it; each in a
# process group of its own (set -m), to be ended with all that it started.
declare -A uses
run_all() {
	local free=$JOBS job pid need
	set -m
	trap 'for pid in "${!uses[@]}"; do kill -- "-$pid" || :; done 2>/dev/null' EXIT
	trap 'exit 1' INT TERM
	for job in "${jobs[@]}"; do
		load_job "$job"
		need=$(weight)
		[ "$need" -le "$JOBS" ] || need=$JOBS
		while [ "$free" -lt "$need" ]; do
			wait -n -p pid || :
			free=$((free + uses[$pid]))
			unset "uses[$pid]"
		done
		run_job "$job" </dev/null &
		uses[$!]=$need
		free=$((free - need))
	done
	wait
	uses=()
}

# No verdict, no pass.
report() {
	local job i out count
	for job in "${jobs[@]}"; do
		out=$logs/$job
		if [ -e "$out/retried" ]; then
			cat "$out/retried"
			retried=$((retried + $(wc -l <"$out/retried")))
		fi
		count=$(grep -c . <<<"${plans[$job]}")
		for ((i = 0; i < count; i++)); do
			cat "$out/$i.verdict" 2>/dev/null ||
				echo "not ok $job: no verdict"
		done
	done >"$logs/verdicts"
	figures >>"$logs/verdicts"
	plan "$(grep -cE '^(not )?ok ' "$logs/verdicts")"
	results "$logs/verdicts"
	total
}

mapfile -t all_tests < <(tests)
read_machines
load_machine here
check_words
pick_jobs
[ "${option[list]}" = no ] || exit 0
unset "hardware[here]"
for hw in "${!hardware[@]}"; do
	"$LAB/setup.sh" "$hw"
done
prepare
[ ${#hardware[@]} -eq 0 ] || [ -d "$bin" ] || die "no test programs at $bin"
mkdir -p "$logs"
logs=$(cd "$logs" && pwd)
for job in "${jobs[@]}"; do
	rm -rf "${logs:?}/$job"
	mkdir -p "$logs/$job"
done
run_all
report
