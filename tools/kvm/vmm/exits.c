// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exits: from KVM's struct kvm_run to a handler of the table.
 */
#include <errno.h>

#include "internal.h"

static const struct vm_handler *find(const struct vm *vm, enum vm_space space,
				     uint64_t addr, uint64_t len)
{
	const struct vm_handler *h, *others = NULL;

	for (h = vm->handlers; h < vm->handlers + vm->nr_handlers; h++) {
		if (h->space != space)
			continue;
		if (!h->size)
			others = h;
		else if (addr >= h->first && addr - h->first < h->size &&
			 len <= h->size - (addr - h->first))
			return h;
	}
	return others;
}

static uint64_t rip_of(struct vcpu *vcpu)
{
	struct kvm_regs regs;

	return VCPU_IOCTL(vcpu, KVM_GET_REGS, &regs) < 0 ? 0 : regs.rip;
}

static int no_device(struct vcpu *vcpu, const struct vm_access *access)
{
	return vcpu_error(vcpu, -ENXIO,
			  "vCPU %u, rip %#llx: %s of %u bytes at %s %#llx",
			  vcpu->id, (unsigned long long)rip_of(vcpu),
			  access->write ? "write" : "read", access->len,
			  access->space == VM_PORT ? "port" : "gpa",
			  (unsigned long long)access->addr);
}

static const char *reason_name(uint32_t reason)
{
	switch (reason) {
	case KVM_EXIT_HLT:
		return "halt";
	case KVM_EXIT_SHUTDOWN:
		return "shutdown (triple fault)";
	case KVM_EXIT_FAIL_ENTRY:
		return "VM entry failed, code";
	case KVM_EXIT_INTERNAL_ERROR:
		return "KVM's internal error, code";
	default:
		return "exit reason";
	}
}

static uint64_t reason_code(const struct kvm_run *run)
{
	switch (run->exit_reason) {
	case KVM_EXIT_FAIL_ENTRY:
		return run->fail_entry.hardware_entry_failure_reason;
	case KVM_EXIT_INTERNAL_ERROR:
		return run->internal.suberror;
	default:
		return run->exit_reason;
	}
}

static int no_handler(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;

	return vcpu_error(vcpu, -EOPNOTSUPP, "vCPU %u, rip %#llx: %s %#llx",
			  vcpu->id, (unsigned long long)rip_of(vcpu),
			  reason_name(run->exit_reason),
			  (unsigned long long)reason_code(run));
}

static int handle(struct vcpu *vcpu, struct vm_access *access)
{
	const struct vm_handler *h = find(vcpu->vm, access->space, access->addr,
					  access->len ? access->len : 1);

	if (!h)
		return access->space == VM_EXIT ? no_handler(vcpu) :
						  no_device(vcpu, access);
	access->offset = access->addr - h->first;
	return h->fn(vcpu, access, h->opaque);
}

/*
 * A string instruction has several elements. KVM counts them as done, so the
 * handler gets all of them, even if it ends vcpu_run() with the first.
 */
static int handle_port(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct vm_access access = {
		.space = VM_PORT,
		.addr = run->io.port,
		.write = run->io.direction == KVM_EXIT_IO_OUT,
		.len = run->io.size,
		.data = (uint8_t *)run + run->io.data_offset,
	};
	int ret, end = 0;
	uint32_t i;

	for (i = 0; i < run->io.count; i++) {
		ret = handle(vcpu, &access);
		if (ret < 0)
			return ret;
		if (ret)
			end = ret;
		access.data += access.len;
	}
	return end;
}

static int handle_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct vm_access access = {
		.space = VM_MMIO,
		.addr = run->mmio.phys_addr,
		.write = run->mmio.is_write,
		.len = run->mmio.len,
		.data = run->mmio.data,
	};

	return handle(vcpu, &access);
}

int vcpu_dispatch(struct vcpu *vcpu)
{
	struct vm_access access = {
		.space = VM_EXIT,
		.addr = vcpu->run->exit_reason,
	};

	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO:
		return handle_port(vcpu);
	case KVM_EXIT_MMIO:
		return handle_mmio(vcpu);
	default:
		return handle(vcpu, &access);
	}
}
