#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Boot a kernel on virtual hardware and run one command there: its output comes
# on stdout, the kernel's warnings with it, and its exit code is this script's.
#
#   lab/boot.sh [options] [--] COMMAND...
#	--hw vtx|svm|kvm	the hardware (svm)
#	--machine NAME		a line of machines.tab (the hardware's first)
#	--kernel FILE		the host kernel (build/host/bzImage)
#	--bin DIR		programs (build/selftests); words of COMMAND
#				that are files there are packed
#	--with "FILE ..."	pack these of DIR too
#	--append ARGS		more kernel arguments
#	--cpus N, --memory MIB, --model NAME	in place of the machine's own
#	--icount		svm: the guest's clock counts instructions
#	--timeout S		give up after S seconds (300)
#	--logs DIR		keep the boot's files in DIR
#	--console		a console on the terminal, with all of DIR
#				packed; it needs no COMMAND. `exit` powers off;
#				so does Ctrl-A X on QEMU, and `kill` of Bochs

. "$(dirname "$0")/../scripts/lib.sh"
. "$TOP/lab/lib.sh"
. "$TOP/lab/judge.sh"
. "$TOP/lab/tables.sh"
. "$TOP/lab/options.sh"

option=([hw]=svm [machine]='' [kernel]=$BUILD/host/bzImage
	[bin]=$BUILD/selftests [with]='' [append]='' [cpus]='' [memory]='' [model]='' [icount]=no
	[timeout]=300 [logs]='' [console]=no)
options "$@"
[ ${#rest[@]} -gt 0 ] || [ "${option[console]}" = yes ] || usage
KERNEL=${option[kernel]} bin=${option[bin]} limit=${option[timeout]}
SUITE='' keys=''
[ -f "$KERNEL" ] || die "no kernel at $KERNEL"
[ -d "$bin" ] || die "no programs at $bin"

for name in cpus memory model; do
	[ -z "${option[$name]}" ] || keys+=" $name=${option[$name]}"
done
[ "${option[icount]}" = no ] || keys+=" icount=1 cpus=1"
read_machines
read -r first < <(machines_of "${option[hw]%% *}") || :
load_machine "${option[machine]:-$first}" "$keys"
ARGS+=" ${option[append]}"
"$LAB/setup.sh" "$HW"

if [ -n "${option[logs]}" ]; then
	mkdir -p "${option[logs]}"
	dir=$(cd "${option[logs]}" && pwd)
else
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
fi

if [ "${option[console]}" = yes ]; then
	[ -t 0 ] || die "a console needs a terminal"
	echo "0 console" >"$dir/init-plan"
	initramfs "$dir/initrd" "$dir/init-plan" "$bin" \
		"$(cd "$bin" && find . -type f -executable -printf '%P ')"
	terminal=$(stty -g)
	(emulator "$dir" -) || :
	stty "$terminal"
	exit
fi

command=${rest[*]}
echo "0 $limit $command" >"$dir/plan"
echo "0 $command" >"$dir/init-plan"
initramfs "$dir/initrd" "$dir/init-plan" "$bin" "$command ${option[with]}"
why=$(run_boot "$dir")
if [ ! -e "$dir/0.out" ]; then
	cat "$dir/emulator.log" "$dir/boot.out" >&2
	die "the machine did not come up ($why)"
fi
text_of "$dir/0.out"
code=$(exit_of "$dir/0.out")
[ -n "$code" ] || die "$(judge "$dir/0.out" "$why" "$limit")"
exit "$code"
