# SPDX-License-Identifier: GPL-2.0
# One boot of a machine: run it, watch it, read its serial log. Sourced after
# lab/lib.sh.
# shellcheck shell=bash

BOOT_LIMIT=${LAB_BOOT_LIMIT:-60}	# seconds to the first test, and from one test to the next; see spent()

# Kernel lines that say that something is wrong, as extended regular expression.
# The text of kmemleak's is init's.
FAULTS='WARNING:|BUG:|BUG |Oops|Kernel panic|[Gg]eneral protection|double fault|'
FAULTS+='KASAN|KCSAN|KMSAN|UBSAN|ODEBUG|kmemleak: ([1-9]|Cannot insert)|'
FAULTS+='rcu.*detected.*stall|INFO: trying to register non-static key|'
FAULTS+='RCU.*stall|soft lockup|hard LOCKUP|blocked for more than|'
FAULTS+='possible (recursive|circular|irq)|inconsistent lock state|'
FAULTS+='suspicious RCU usage|DEADLOCK|bad unlock balance|'
FAULTS+='unchecked MSR access|refcount_t: |list_(add|del) corruption|'
FAULTS+='Bad page|Bad rss-counter|invalid opcode|unable to handle'

# Only the kernel's lines, which begin with a time stamp, are looked at.
faults_in() { grep -aE "\[ *[0-9]+\.[0-9]{6}\] .*($FAULTS)" "$1"; }

# run_boot DIR: DIR/plan holds "number limit command" lines; boots the machine
# (variables as in emulator()) with them and prints why the boot ended: `done`,
# `exit` (the emulator left), `panic`, `silent` or `timeout`.
# DIR/serial.log is cut into boot.out and NUMBER.out, one file a test.
run_boot() {
	local dir=$1 pid why
	: >"$dir/serial.log"
	emulator "$dir" "$dir/serial.log" \
		>"$dir/emulator.log" 2>&1 </dev/null 9>&- &
	pid=$!
	# shellcheck disable=SC2064 # the pid of now
	trap "kill -9 $pid 2>/dev/null || :" EXIT
	trap 'exit 1' INT TERM
	why=$(watch_boot "$dir" $pid)
	kill -9 $pid 2>/dev/null || :
	wait $pid 2>/dev/null || :
	trap - EXIT INT TERM
	rm -f "$dir"/{setup,kernel,initrd,monitor.in,monitor.out}
	split_log "$dir"
	echo "$why"
}

last_marker() {
	grep -aoE '@lab (begin|end|done)( [0-9]+)?' "$1/serial.log" | tail -n 1
}

# limit_of DIR MARKER: how long it may last until the next marker.
limit_of() {
	case $2 in
	"@lab begin "*)
		awk -v n="${2##* }" '$1 == n { print $2 }' "$1/plan" ;;
	"@lab done")
		echo $((15 * TIMES)) ;;
	*)
		echo $((BOOT_LIMIT * TIMES)) ;;
	esac
}

# spent PID SINCE: how long an emulator had for its work, in seconds: what the
# CPU gave it, so that a busy computer fails no test, but a quarter of the
# clock's time for one that sleeps. SINCE is "cpu clock" of the start.
clocks() {
	local -a stat
	read -ra stat 2>/dev/null <"/proc/$1/stat" || stat=()
	echo "$(((${stat[13]:-0} + ${stat[14]:-0}) / $(getconf CLK_TCK))) $SECONDS"
}
spent() {
	local cpu clock cpu0=${2% *} clock0=${2#* }
	read -r cpu clock < <(clocks "$1")
	cpu=$((cpu - cpu0)) clock=$(((clock - clock0) / 4))
	echo $((cpu > clock ? cpu : clock))
}

watch_boot() {
	local dir=$1 pid=$2 marker='' new since limit=$((BOOT_LIMIT * TIMES))
	since=$(clocks "$pid")
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.3
		new=$(last_marker "$dir") || :
		if [ "$new" != "$marker" ]; then
			marker=$new since=$(clocks "$pid")
			limit=$(limit_of "$dir" "$marker")
		fi
		if panicked "$dir"; then
			sleep 1 # the rest of its text
			break
		fi
		[ "$(spent "$pid" "$since")" -ge "$limit" ] || continue
		[ "$marker" = "@lab done" ] || ask_monitor "$dir"
		case $marker in
		"@lab done") break ;;
		"@lab begin"*) echo timeout ;;
		*) echo silent ;;
		esac
		return
	done
	if [ "$(last_marker "$dir")" = "@lab done" ]; then
		echo 'done'
	elif panicked "$dir"; then
		echo panic
	else
		echo 'exit'
	fi
}

panicked() { grep -aq 'Kernel panic - not syncing' "$1/serial.log"; }

# A line of the kernel may come on a marker's line.
split_log() {
	rm -f "$1"/*.out
	: >"$1/boot.out"
	tr -d '\r' <"$1/serial.log" | awk -v dir="$1" '
		BEGIN { out = dir "/boot.out" }
		match($0, /@lab begin [0-9]+(\[|$)/) {
			split(substr($0, RSTART), word, /[ \[]/)
			out = dir "/" word[3] ".out"
		}
		/@lab done(\[|$)/ { out = dir "/end.out" }
		{ print > out }'
}

# text_of FILE: a test's own lines, without markers and the blanks around them.
text_of() { sed '/@lab \(begin\|end\|done\)/d;/^$/d' "$1"; }

# exit_of FILE: the exit code of a test, nothing if it never ended.
exit_of() { sed -nE 's/.*@lab end [0-9]+ ([0-9]+)(\[.*)?$/\1/p' "$1" | tail -n 1; }

# judge FILE WHY LIMIT: one line, "pass", "skip reason" or "fail reason".
# FILE is a test's piece of the log, WHY tells how its boot ended.
judge() {
	local code fault
	code=$(exit_of "$1")
	fault=$(faults_in "$1" | head -n 1) || :
	if [ -n "$fault" ]; then
		echo "fail kernel: ${fault#*] }"
	elif [ -n "$code" ]; then
		case $code in
		0) echo pass ;;
		4) echo "skip $(text_of "$1" | grep -v '^\[ *[0-9]*\.' | tail -n 1)" ;;
		*) echo "fail exit code $code" ;;
		esac
	else
		case $2 in
		timeout) echo "fail no end within $3 s" ;;
		*) echo "fail the machine died ($2)" ;;
		esac
	fi
}
