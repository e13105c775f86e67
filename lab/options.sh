# SPDX-License-Identifier: GPL-2.0
# The options of a script, as the comment on its top shows them. Sourced after
# scripts/lib.sh.
# shellcheck shell=bash

# The comment's lines from its first usage line to its end.
usage() { sed -n '/^#   [a-z]*\//,/^$/s/^#//p' "$0" >&2; exit 1; }

# options ARG...: `option` holds each option's name with its default, `no` for
# one that takes no value. What follows the options is left in `rest`.
declare -A option
options() {
	local name
	while [[ ${1:-} = -* ]]; do
		name=${1#--}
		shift
		[ -n "$name" ] || break
		[[ -v option[$name] ]] || usage
		if [ "${option[$name]}" = no ]; then
			option[$name]=yes
		else
			[ $# -gt 0 ] || usage
			option[$name]=$1
			shift
		fi
	done
	# shellcheck disable=SC2034 # for the caller
	rest=("$@")
}
