/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * x86 vCPUs in 64-bit mode, for guests of a few instructions that have no
 * firmware. Nothing of it is about dirty rings.
 */
#ifndef TOOLS_KVM_LONG_MODE_H
#define TOOLS_KVM_LONG_MODE_H

#include <stdint.h>

int long_mode_enter(int kvm_fd, int vcpu_fd, uint64_t pml4);

#endif /* TOOLS_KVM_LONG_MODE_H */
