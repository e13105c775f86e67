#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Does QEMU's TCG leave an instruction that begins at the end of a page table and
# ends in a page which that table maps? There is no KVM in this: the program is
# the whole guest.
#
# QEMU 11.1 does not, 7.2 does. In 11.1, tb_lock_page0() holds the lock of the
# first page while an instruction is translated. The walk for the second page
# accesses the table for writing. notdirty_write() finds translated code in it,
# and page_collection_lock() spins for ever: the lock is this thread's own.
#
#   lab/qemu/code-in-page-table.sh [QEMU]
#
# It prints "leaves" or "hangs" for an instruction of two bytes, and for one of
# one byte, which does not reach into the second page. The exit status is 0.

. "$(dirname "$0")/../../scripts/lib.sh"
. "$TOP/lab/lib.sh"

emulator=(${1:+"$1"})
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# try FIRST_BYTE WHAT
try() {
	local rc=0
	gcc -m32 -c -nostdlib -Wa,--defsym,FIRST_BYTE="$1" -o "$work/guest.o" \
		"$TOP/lab/qemu/code-in-page-table.S"
	ld -m elf_i386 -Ttext 0x100000 -o "$work/guest" "$work/guest.o"
	(
		ulimit -t 5 # seconds of CPU: the guest has some dozen instructions
		"${emulator[@]:-qemu}" -accel tcg -display none -serial none \
			-monitor none -no-reboot -kernel "$work/guest" \
			-device isa-debug-exit,iobase=0xf4,iosize=4
	) || rc=$?
	case $rc in
	33) echo "$2: leaves" ;;
	137 | 152) echo "$2: hangs" ;;
	*) die "QEMU ended with $rc" ;;
	esac
}

("${emulator[@]:-qemu}" --version) | head -n 1
try 0x90 "one byte"
try 0x89 "two bytes"
