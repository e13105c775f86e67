#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Boot a kernel on virtual hardware and run one command there: its output comes
# on stdout, the kernel's warnings with it, and its exit code is this script's.
#
#   lab/boot.sh [options] [--] COMMAND...
#	--hw vtx|svm|kvm	the hardware (svm)
#	--machine NAME		a line of machines.tab (the first for the hardware)
#	--kernel FILE		the host kernel (build/host/bzImage)
#	--bin DIR		programs (build/selftests); words of COMMAND that
#				are files there are packed
#	--with FILE		pack this file of DIR too; may be repeated
#	--append ARGS		more kernel arguments
#	--cpus N, --memory MIB, --model NAME	in place of the machine's own
#	--icount		svm: the guest's clock counts instructions
#	--timeout S		give up after S seconds (300)
#	--logs DIR		keep the boot's files in DIR
#	-i			a console on the terminal, with all of DIR packed;
#				it needs no COMMAND

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"
# shellcheck source=lab/lib.sh
. "$TOP/lab/lib.sh"
# shellcheck source=lab/judge.sh
. "$TOP/lab/judge.sh"
# shellcheck source=lab/tables.sh
. "$TOP/lab/tables.sh"

usage() { sed -n '/^#   lab/,/^$/s/^#//p' "$0" >&2; exit 1; }

hw=svm machine='' KERNEL=$BUILD/host/bzImage bin=$BUILD/selftests append=''
cpus='' memory='' model='' limit=300 logs='' console=''
with=()
while [ $# -gt 0 ]; do
	case $1 in
	--hw) hw=$2; shift ;;
	--machine) machine=$2; shift ;;
	--kernel) KERNEL=$2; shift ;;
	--bin) bin=$2; shift ;;
	--with) with+=("$2"); shift ;;
	--append) append=$2; shift ;;
	--cpus) cpus=$2; shift ;;
	--memory) memory=$2; shift ;;
	--model) model=$2; shift ;;
	--icount) export ICOUNT=1; cpus=1 ;;
	--timeout) limit=$2; shift ;;
	--logs) logs=$2; shift ;;
	-i) console=1 ;;
	--) shift; break ;;
	-*) usage ;;
	*) break ;;
	esac
	shift
done
[ $# -gt 0 ] || [ -n "$console" ] || usage
[ -f "$KERNEL" ] || die "no kernel at $KERNEL"
[ -d "$bin" ] || die "no programs at $bin"

machine=${machine:-$(first_machine "$hw")}
load_machine "$machine"
CPUS=${cpus:-$CPUS} MEMORY=${memory:-$MEMORY} MODEL=${model:-$MODEL}
ARGS="$ARGS $append"
"$LAB/setup.sh" "$HW"

if [ -n "$logs" ]; then
	mkdir -p "$logs"
	dir=$(cd "$logs" && pwd)
else
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
fi

if [ -n "$console" ]; then
	mapfile -t with < <(cd "$bin" && find . -type f -executable -printf '%P\n')
	echo "0 console" >"$dir/init-plan"
	initramfs "$dir/initrd" "$dir/init-plan" "$bin" "${with[@]}"
	[ -t 0 ] || die "a console needs a terminal"
	terminal=$(stty -g)
	(emulator "$dir" -) || :
	stty "$terminal"
	exit
fi

command=$*
echo "0 $limit $command" >"$dir/plan"
echo "0 $command" >"$dir/init-plan"
# shellcheck disable=SC2086 # the words of a command line
initramfs "$dir/initrd" "$dir/init-plan" "$bin" $command "${with[@]}"
why=$(run_boot "$dir")
if [ ! -e "$dir/0.out" ]; then
	cat "$dir/emulator.log" "$dir/boot.out" >&2
	die "the machine did not come up ($why)"
fi
text_of "$dir/0.out"
code=$(exit_of "$dir/0.out")
[ -n "$code" ] || die "$(judge "$dir/0.out" "$why" "$limit")"
exit "$code"
