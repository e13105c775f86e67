#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Run the tests of tests.tab on the machines of machines.tab: KTAP on stdout,
# and as its last line "N passed, N failed, N skipped".
#
#   lab/run.sh [options]
#	--hw "HW ..."		vtx, svm, kvm (the best there is)
#	--kernel FILE		the host kernel (build/host/bzImage)
#	--bin DIR		the test programs (build/selftests)
#	--set run|smoke|full|races	which machines and tests (run)
#	--tests "NAME ..."	only these, by name or by program, whatever set
#				they belong to
#	--machines "NAME ..."	only these, whatever set they belong to
#	--logs DIR		one folder a boot goes there (build/logs/lab)
#	--list			print what would run

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"
# shellcheck source=lab/lib.sh
. "$TOP/lab/lib.sh"
# shellcheck source=lab/judge.sh
. "$TOP/lab/judge.sh"
# shellcheck source=lab/tables.sh
. "$TOP/lab/tables.sh"

usage() { sed -n '/^#   lab/,/^$/s/^#//p' "$0" >&2; exit 1; }

hws='' KERNEL=$BUILD/host/bzImage bin=$BUILD/selftests set=run names=''
machines='' logs=$BUILD/logs/lab list=''
while [ $# -gt 0 ]; do
	case $1 in
	--list) list=1; shift; continue ;;
	esac
	[ $# -ge 2 ] || usage
	case $1 in
	--hw) hws=$2 ;;
	--kernel) KERNEL=$2 ;;
	--bin) bin=$2 ;;
	--set) set=$2 ;;
	--tests) names=$2 ;;
	--machines) machines=$2 ;;
	--logs) logs=$2 ;;
	*) usage ;;
	esac
	shift 2
done

# Everything that can be wrong is told before anything is booted.
check_words() {
	local hw
	case $set in
	run | smoke | full | races) ;;
	*) die "no such set: $set (run, smoke, full, races)" ;;
	esac
	for hw in $hws; do
		case $hw in
		vtx | svm | kvm) ;;
		*) die "no such hardware: $hw (vtx, svm, kvm)" ;;
		esac
	done
	[ -n "$list" ] || [ -f "$KERNEL" ] || die "no kernel at $KERNEL"
	[ -n "$list" ] || [ -d "$bin" ] || die "no test programs at $bin"
}

# The jobs: machines with something to run, and what that is.
pick_jobs() {
	local hw name
	if [ -z "$machines" ]; then
		for hw in $hws; do
			machines+=" $(machines_of "$hw" "$set" | xargs)"
		done
	fi
	for name in $machines; do
		load_machine "$name"
		plans[$name]=$(tests_of "$set" "$names")
		[ -n "${plans[$name]}" ] && jobs+=("$name") hardware[$HW]=1
	done
	[ ${#jobs[@]} -gt 0 ] || die "no test of that name fits these machines"
}

# verdict NUMBER VERDICT [REASON]: the loaded machine's test NUMBER has one; to
# its file goes the KTAP line, without number, and the diagnostics. The test's
# output is shown unless it passed.
verdict() {
	local number=$1 what=$2 reason=${3:-} title known line text=$dir/$1.out
	title="$MACHINE: ${commands[number]}"
	known=
	[ ! -e "$text" ] || known=$(known_failure "${tests[number]}" "$text")
	if [ "$what" = fail ] && [ -n "$known" ]; then
		what=skip reason="known to fail: $known"
	elif [ "$what" = skip ] && [ "${needs[number]}" != - ]; then
		what=fail reason="skipped what it was to test here: $reason"
	fi
	case $what in
	pass) line="ok $title" ;;
	skip) line="ok $title # SKIP $reason" ;;
	fail) line="not ok $title" ;;
	esac
	{
		echo "$line"
		if [ "$what" = fail ]; then
			echo "# $reason"
			echo "# log: ${dir#"$TOP"/}"
			[ ! -e "$text" ] || show "$text"
		fi
	} >"$out/verdict.$number"
	say "$line${reason:+ ($reason)}"
}

# show FILE: a failed test's output, as diagnostics: all that went wrong by its
# own account, the kernel's complaint, and its last lines.
show() {
	local all
	all=$(text_of "$1" | wc -l)
	[ "$all" -le 30 ] || { text_of "$1" | head -n -30 |
		grep -aE "^ *not ok|\[ *[0-9]+\.[0-9]{6}\] .*($FAULTS)" |
		head -n 20 | sed 's/^/#   /' || :; echo "#   ..."; }
	text_of "$1" | tail -n 30 | sed 's/^/#   /'
}

# run_machine NAME: all its tests, in as few boots as it takes, each test's
# verdict in a file.
run_machine() {
	local out=$logs/$1 dir boot=0 why stalls=0 i n=0 words name must limit command
	local -a tests needs limits commands todo
	load_machine "$1"
	while read -r name must limit command; do
		tests[++n]=$name needs[n]=$must limits[n]=$limit commands[n]=$command
		todo+=("$n")
	done <<<"${plans[$1]}"
	while [ ${#todo[@]} -gt 0 ]; do
		boot=$((boot + 1))
		dir=$out/boot$boot
		prepare_boot
		say "$MACHINE: boot $boot, ${#todo[@]} tests"
		why=$(run_boot "$dir")
		if [ ! -e "$dir/${todo[0]}.out" ]; then
			if stalled && [ $((stalls++)) -eq 0 ]; then
				echo "# $MACHINE: retried, the boot stalled (${dir#"$TOP"/})" |
					tee "$out/retried" >&2
				continue
			fi
			refuse_all
			return
		fi
		judge_boot
	done
}

# A boot that stopped for no reason that it would tell; it is worth a second try.
stalled() { [ "$why" = silent ] && ! faults_in "$dir/boot.out" >/dev/null; }

prepare_boot() {
	mkdir -p "$dir"
	: >"$dir/plan"
	: >"$dir/init-plan"
	words=
	for i in "${todo[@]}"; do
		echo "$i ${limits[i]} ${commands[i]}" >>"$dir/plan"
		echo "$i ${commands[i]}" >>"$dir/init-plan"
		words+=" ${commands[i]}"
	done
	# shellcheck disable=SC2086 # the words of command lines
	initramfs "$dir/initrd" "$dir/init-plan" "$bin" $words
}

# The tests that this boot began get their verdicts, the others stay to do.
judge_boot() {
	local left=() what reason
	# What the kernel said before the first test counts for the first test.
	faults_in "$dir/boot.out" >>"$dir/${todo[0]}.out" || :
	for i in "${todo[@]}"; do
		if [ -e "$dir/$i.out" ]; then
			read -r what reason < <(judge "$dir/$i.out" "$why" "${limits[i]}")
			verdict "$i" "$what" "$reason"
		else
			left+=("$i")
		fi
	done
	todo=("${left[@]}")
}

# What a machine that did not come up had to say: its panic, or its last line.
last_words() {
	{
		sed "/TCG doesn't support/d" "$dir/emulator.log"
		sed '/^$/d' "$dir/boot.out"
		faults_in "$dir/boot.out" | tail -n 1 || :
	} | sed 's/^\[[^]]*\] //' | tail -n 1
}

# The machine did not come up: nothing passes.
refuse_all() {
	local reason="the machine did not come up ($why)"
	reason+=": $(last_words)"
	for i in "${todo[@]}"; do
		verdict "$i" fail "$reason"
	done
}

# weight: how many of this computer's CPUs the loaded machine keeps busy.
weight() {
	if [ "$HW" = vtx ]; then echo 1; else echo "$CPUS"; fi
}

# Start machines in their order, each as soon as CPUs are free for it; each in
# a process group of its own (set -m), to be ended with all that it started.
declare -A uses
run_all() {
	local slots=$JOBS free=$JOBS name pid need
	set -m
	trap 'for pid in "${!uses[@]}"; do kill -- "-$pid" || :; done 2>/dev/null' EXIT
	trap 'exit 1' INT TERM
	for name in "${jobs[@]}"; do
		load_machine "$name"
		need=$(weight)
		[ "$need" -le "$slots" ] || need=$slots
		while [ "$free" -lt "$need" ]; do
			wait -n -p pid || :
			free=$((free + uses[$pid]))
			unset "uses[$pid]"
		done
		run_machine "$name" </dev/null &
		uses[$!]=$need
		free=$((free - need))
	done
	wait
	uses=()
}

report() {
	local n=0 passed=0 failed=0 skipped=0 total=0 name i count
	for name in "${jobs[@]}"; do
		total=$((total + $(wc -l <<<"${plans[$name]}")))
	done
	echo "KTAP version 1"
	echo "1..$total"
	for name in "${jobs[@]}"; do
		[ ! -e "$logs/$name/retried" ] || cat "$logs/$name/retried"
		count=$(wc -l <<<"${plans[$name]}")
		for ((i = 1; i <= count; i++)); do
			n=$((n + 1))
			ktap "$logs/$name/verdict.$i"
		done
	done
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# ktap FILE: number a verdict's line, print it, count it. No verdict, no pass.
ktap() {
	local line='not ok no verdict'
	[ ! -e "$1" ] || line=$(head -n 1 "$1")
	case $line in
	"ok "*" # SKIP "*) skipped=$((skipped + 1)) ;;
	"ok "*) passed=$((passed + 1)) ;;
	*) failed=$((failed + 1)) ;;
	esac
	echo "${line%%ok *}ok $n ${line#*ok }"
	[ ! -e "$1" ] || tail -n +2 "$1"
}

hws=${hws:-$("$LAB/setup.sh" detect)}
check_words
jobs=()
declare -A plans hardware
pick_jobs
if [ -n "$list" ]; then
	for name in "${jobs[@]}"; do
		awk -v name="$name" '{ print name ": " $0 }' <<<"${plans[$name]}"
	done
	exit
fi
mkdir -p "$logs"
logs=$(cd "$logs" && pwd)
for name in "${!hardware[@]}"; do
	"$LAB/setup.sh" "$name"
done
for name in "${jobs[@]}"; do
	rm -rf "${logs:?}/$name"
	mkdir -p "$logs/$name"
done
run_all
report
