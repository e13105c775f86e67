#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Make what a migration needs on the booted host, in build/migrate/: QEMU, the
# guest, and the program that migrates it.
#
#   suites/migration/build.sh

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

here=$TOP/suites/migration
out=$BUILD/migrate

# The guest counts in ebx, see guest.c.
build_guest() {
	gcc -m32 -march=i686 -mgeneral-regs-only -ffixed-ebx -ffreestanding \
		-Os -Wall -Wextra -fno-pic -no-pie -fno-stack-protector \
		-fcf-protection=none -fno-asynchronous-unwind-tables \
		-nostdlib -static -Wl,--build-id=none,-T,"$here/guest/guest.lds" \
		-Wl,-z,noexecstack,--no-warn-rwx-segments \
		-o "$out/guest.elf" "$here"/guest/{boot.S,guest.c}
	objcopy -O binary -j .text "$out/guest.elf" "$out/guest.bin"
}

build_migrate() {
	gcc -static -O2 -Wall -Wextra -D_GNU_SOURCE -o "$out/migrate" \
		"$here"/{migrate,qemu,guest_log,trace,util}.c
}

[ $# -eq 0 ] || die "usage: ${0##*/}"
mkdir -p "$out"
qemu=$("$here/qemu.sh")
rsync --checksum "$qemu" "$out/"
step "build the guest" build_guest
step "build migrate" build_migrate
