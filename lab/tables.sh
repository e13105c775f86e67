# SPDX-License-Identifier: GPL-2.0
# Reading the tables: machines, tests, what is known to fail. Sourced after
# lab/lib.sh; SUITE is a suite's folder, or empty.
# shellcheck shell=bash disable=SC2034,SC2153,SC2154

MACHINE_KEYS='model cpus memory has lacks arg icount again'
TEST_KEYS='on kernel alone'

rows() { sed '/^#/d;/^[[:space:]]*$/d' "$1"; }

# read_machines: the lab's and the suite's, in their order.
declare -A machine_hw machine_sets machine_keys
machine_names=()
read_machines() {
	local name hw sets keys file
	local -A defaults=()
	for file in "$LAB/machines.tab" ${SUITE:+"$SUITE/machines.tab"}; do
		[ -f "$file" ] || continue
		while read -r name hw sets keys; do
			if [ "$name" = '*' ]; then
				defaults[$hw]+=" $keys"
				continue
			fi
			machine_names+=("$name")
			machine_hw[$name]=$hw machine_sets[$name]=$sets
			machine_keys[$name]="${defaults[$hw]:-} $keys"
		done < <(rows "$file")
	done
}

# keys WHERE ALLOWED WORDS: KEY=VALUE words to `key`.
declare -A key
keys() {
	local word
	local -a words
	read -ra words <<<"$3"
	key=()
	for word in "${words[@]}"; do
		[[ $word = *=* && " $2 " = *" ${word%%=*} "* ]] ||
			die "$1: no such key: $word"
		case $word in
		arg=*) key[arg]+=" ${word#*=}" ;;
		*) key[${word%%=*}]=${word#*=} ;;
		esac
	done
}

# machines_of HW: their names
machines_of() {
	local name
	for name in "${machine_names[@]}"; do
		[ "${machine_hw[$name]}" != "$1" ] || echo "$name"
	done
}

# load_machine NAME [KEYS]: set the variables that emulator() wants, HAS, AGAIN,
# and TIMES, by how much all takes longer on KERNEL. KEYS come on top.
load_machine() {
	local word lacks
	[ -n "${machine_hw[${1:-none}]:-}" ] ||
		die "no such machine: ${1:-(none for this hardware)}"
	MACHINE=$1 HW=${machine_hw[$1]}
	keys "machine $1" "$MACHINE_KEYS" "${machine_keys[$1]} ${2:-}"
	MODEL=${key[model]:-} CPUS=${key[cpus]:-1} MEMORY=${key[memory]:-}
	ARGS=${key[arg]:-} ICOUNT=${key[icount]:-} AGAIN=${key[again]:-}
	HAS=,${key[has]:-},
	if [ "$HW" = kvm ]; then
		HAS+=$(grep -oEw -m 1 "vmx|svm" /proc/cpuinfo | head -n 1),
	fi
	lacks=${key[lacks]:-}
	for word in ${lacks//,/ }; do
		HAS=${HAS//,$word,/,}
	done
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
		[ "$word" = - ] || HAS+=$word,
		[ "$times" -le "$TIMES" ] || TIMES=$times
	done < <(rows "$LAB/traits.tab")
}

# in_list WORD LIST: is it one of LIST, which is comma-separated?
in_list() { [[ ,$2, = *,$1,* ]]; }

# has WORD,...: does the loaded machine have all of them?
has() {
	local word
	for word in ${1//,/ }; do
		[ "$word" = - ] || in_list "$word" "$HAS" || return 1
	done
}

# load_test ROW: a line of tests.tab, as the loaded machine is to run it. What
# its keys say of the machine is left in `extra`.
load_test() {
	local word words
	read -r name sets needs limit command <<<"$1"
	words=$keys_of_all
	if [[ $command = *' -- '* ]]; then
		words+=" ${command%%' -- '*}" command=${command#*' -- '}
	fi
	keys "test $name" "$TEST_KEYS $MACHINE_KEYS" "$words"
	on=${key[on]:-} kernel=${key[kernel]:-host} alone=${key[alone]:-} extra=
	for word in $words; do
		in_list "${word%%=*}" "${TEST_KEYS// /,}" || extra+=" $word"
	done
	[ "$kernel" = host ] && [ -z "$extra" ] || alone=1
	adjust
	limit=$((limit * TIMES))
}

# picked WORDS: is the loaded test one of them, by name or by program?
picked() {
	local word program=${command%% *}
	for word in $1; do
		case $word in
		"$name" | "$program" | "${program##*/}") return 0 ;;
		esac
	done
	return 1
}

# known_failure TEST FILE: why this test is known to fail on the loaded machine
# in the way that FILE, its output, shows.
known_failure() {
	local name machine words reason
	[ -f "$SUITE/known.tab" ] || return 0
	rows "$SUITE/known.tab" | while read -r name machine words reason; do
		# shellcheck disable=SC2053 # a pattern
		if [[ $name = "$1" && $MACHINE = $machine ]] &&
			grep -aqE "$words" "$2"; then
			echo "$reason"
		fi
	done
}
