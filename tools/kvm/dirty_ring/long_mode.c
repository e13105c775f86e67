// SPDX-License-Identifier: GPL-2.0-only
/*
 * x86 vCPUs in 64-bit mode.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <linux/kvm.h>

#include "long_mode.h"

#define MAX_CPUID	128

/* All that KVM has on this CPU, the width of guest physical addresses with it. */
static int set_cpuid(int kvm_fd, int vcpu_fd)
{
	struct kvm_cpuid2 *cpuid;
	int ret = 0;

	cpuid = calloc(1, sizeof(*cpuid) +
			  MAX_CPUID * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = MAX_CPUID;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0 ||
	    ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid) < 0)
		ret = -errno;
	free(cpuid);
	return ret;
}

/**
 * long_mode_enter() - put a new vCPU into 64-bit mode, at privilege level 0
 * @kvm_fd: /dev/kvm; the vCPU gets the CPUID that it supports
 * @vcpu_fd: the vCPU
 * @pml4: guest physical address of the page tables, which the caller builds
 *
 * Segments are flat, paging is on, interrupts are as KVM_SET_REGS says. There is
 * no GDT and no IDT: a guest that loads a segment or faults shuts down.
 *
 * Return: 0, -ENOMEM, or what KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2,
 * KVM_GET_SREGS or KVM_SET_SREGS returned.
 */
int long_mode_enter(int kvm_fd, int vcpu_fd, uint64_t pml4)
{
	struct kvm_segment code = {
		.limit = ~0u, .selector = 8, .type = 11, .present = 1,
		.s = 1, .l = 1, .g = 1,
	};
	struct kvm_segment data = {
		.limit = ~0u, .selector = 16, .type = 3, .present = 1,
		.s = 1, .db = 1, .g = 1,
	};
	struct kvm_segment task = {
		.limit = 0x67, .selector = 24, .type = 11, .present = 1,
	};
	struct kvm_sregs sregs;
	int ret = set_cpuid(kvm_fd, vcpu_fd);

	if (ret)
		return ret;
	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.fs = data;
	sregs.gs = data;
	sregs.ss = data;
	sregs.tr = task;
	sregs.cr0 = 0x80010033;	/* PG, WP, NE, ET, MP, PE */
	sregs.cr3 = pml4;
	sregs.cr4 = 0x20;	/* PAE */
	sregs.efer = 0x500;	/* LMA, LME */
	return ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ? -errno : 0;
}
