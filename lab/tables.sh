# SPDX-License-Identifier: GPL-2.0
# Reading the lab's tables. Sourced after lab/lib.sh.
# shellcheck shell=bash

MACHINES=${LAB_MACHINES:-$LAB/machines.tab}
TESTS=${LAB_TESTS:-$LAB/tests.tab}
KNOWN=${LAB_KNOWN:-$LAB/known.tab}
TRAITS=$LAB/kernels.tab

rows() { sed '/^#/d;/^[[:space:]]*$/d' "$1"; }

# machines_of HW SET: the machines of a hardware that belong to a set.
machines_of() {
	rows "$MACHINES" | awk -v hw="$1" -v set="$2" '
		$2 == hw && ("," $6 ",") ~ ("," set ",") { print $1 }'
}

first_machine() { rows "$MACHINES" | awk -v hw="$1" '$2 == hw && !n++ { print $1 }'; }

# load_machine NAME: set the variables that emulator() wants, HAS, and TIMES, by
# how much all takes longer on KERNEL.
load_machine() {
	local row
	row=$(rows "$MACHINES" | awk -v name="$1" '$1 == name')
	[ -n "$row" ] || die "no such machine: ${1:-(none for this hardware)}"
	# shellcheck disable=SC2034 # SETS is read here to get it out of the way
	read -r MACHINE HW MODEL CPUS MEMORY SETS HAS ARGS <<<"$row"
	if [ "$HW" = kvm ]; then
		HAS+=,$(grep -oEw -m 1 "vmx|svm" /proc/cpuinfo | head -n 1)
	fi
	load_kernel
}

# What the configuration of KERNEL adds.
load_kernel() {
	local config option word times
	config=$(dirname "$KERNEL")/config
	TIMES=1
	[ -f "$config" ] || return 0
	while read -r option word times; do
		grep -qxF "$option" "$config" || continue
		[ "$word" = - ] || HAS+=,$word
		[ "$times" -le "$TIMES" ] || TIMES=$times
	done < <(rows "$TRAITS")
}

# has WORD,...: does the loaded machine have all of them?
has() {
	local word
	for word in ${1//,/ }; do
		case ",$HAS," in
		*",$word,"*) ;;
		*) [ "$word" = - ] || return 1 ;;
		esac
	done
}

# tests_of SET NAMES: "name needs limit command" of the tests that the loaded machine
# is to run. NAMES, where not empty, picks tests by name or by program, from
# all sets.
tests_of() {
	local name sets needs limit command
	rows "$TESTS" | while read -r name sets needs limit command; do
		if [ -n "$2" ]; then
			picked "$name" "${command%% *}" "$2" || continue
		else
			[[ ,$sets, = *,$1,* ]] || continue
		fi
		! has "$needs" || echo "$name $needs $((limit * TIMES)) $command"
	done
}

# picked NAME PROGRAM WORDS
picked() {
	local word
	for word in $3; do
		case $word in
		"$1" | "$2" | "${2##*/}") return 0 ;;
		esac
	done
	return 1
}

# known_failure TEST FILE: why this test is known to fail on the loaded machine
# in the way that FILE, its output, shows.
known_failure() {
	local name machine words reason
	rows "$KNOWN" | while read -r name machine words reason; do
		# shellcheck disable=SC2053 # a pattern
		if [[ $name = "$1" && $MACHINE = $machine ]] &&
			grep -aqE "$words" "$2"; then
			echo "$reason"
		fi
	done
}
