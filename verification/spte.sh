#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Compile the kernel's spte.c for user space, and test the SPTEs that it makes.
#
#   verification/spte.sh [TREE]		build/linux; success if all is well, 1 if
#					something was found, else 2

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

tree=$(realpath "${1:-$BUILD/linux}")
here=$TOP/verification/spte
out=$BUILD/spte
mmu=$tree/arch/x86/kvm/mmu

mkdir -p "$out/linux" "$out/asm/e820"
cp "$here/kvm_host.h" "$out/linux/kvm_host.h"
for empty in linux/types.h asm/kvm_host.h asm/vmx.h asm/e820/api.h x86.h; do
	: >"$out/$empty"
done
# Of KVM's own mmu.h, what is about entries alone.
sed -nE '/^#define PT(64)?_[A-Z0-9_]+ .*[^\\]$/p
	/^static inline (u64 rsvd_bits|int is_writable_pte)\(/,/^}/p' \
	"$tree/arch/x86/kvm/mmu.h" >"$out/mmu.h"
gcc -O1 -w '-DIS_ENABLED(x)=1' '-DBUG_ON(x)=WARN_ON(x)' \
	-I"$out" -include "$out/linux/kvm_host.h" \
	-DSPTE_C="\"$mmu/spte.c\"" -o "$out/spte_test" "$here/spte_test.c" || exit 2
"$out/spte_test"
