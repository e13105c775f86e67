// SPDX-License-Identifier: GPL-2.0-only
/*
 * MSIs to an APIC that software has disabled, by a logical x2APIC destination
 * and with the redirection hint. Such an APIC takes NMI, SMI and INIT, SDM Vol.
 * 3A 10.4.7.2, but no interrupt with a vector. KVM_SIGNAL_MSI says what it did.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/bitops.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"

/* vCPU 0 is enabled, so that KVM knows that destinations are x2APIC's. */
#define ENABLED		0
#define DISABLED	1

#define BASE_X2APIC	(BIT(11) | BIT(10))
#define APIC_SPIV	0xf0
#define SPIV_ENABLED	BIT(8)

#define MSI_ADDRESS	0xfee00000u
#define MSI_HINT	BIT(3)
#define MSI_LOGICAL	BIT(2)

static struct kvm_vm *vm;

static void guest_code(void)
{
	GUEST_DONE();
}

static const struct row {
	const char *name;
	uint32_t data;
	bool taken;
} rows[] = {
	{ "fixed", 0x40, false },
	{ "lowest priority", 0x40 | 1 << 8, false },
	{ "SMI", 2 << 8, true },
	{ "NMI", 4 << 8, true },
	{ "INIT", 5 << 8 | BIT(14), true },
};

static void set_x2apic(uint32_t id, bool enabled)
{
	struct kvm_lapic_state apic;
	struct kvm_sregs sregs;
	uint32_t *spiv = (uint32_t *)(apic.regs + APIC_SPIV);

	vcpu_sregs_get(vm, id, &sregs);
	sregs.apic_base |= BASE_X2APIC;
	vcpu_sregs_set(vm, id, &sregs);

	vcpu_ioctl(vm, id, KVM_GET_LAPIC, &apic);
	*spiv = enabled ? *spiv | SPIV_ENABLED : *spiv & ~SPIV_ENABLED;
	vcpu_ioctl(vm, id, KVM_SET_LAPIC, &apic);
}

static int signal_msi(uint32_t to, uint32_t data)
{
	struct kvm_msi msi = {
		.address_lo = MSI_ADDRESS | to << 12 | MSI_HINT | MSI_LOGICAL,
		.data = data,
	};

	return ioctl(vm_get_fd(vm), KVM_SIGNAL_MSI, &msi);
}

int main(int argc, char *argv[])
{
	const struct row *row;
	unsigned int i;
	int ret;

	setbuf(stdout, NULL);

	vm = vm_create_default(ENABLED, 0, guest_code);
	vm_vcpu_add_default(vm, DISABLED, guest_code);
	vcpu_set_cpuid(vm, ENABLED, kvm_get_supported_cpuid());
	vcpu_set_cpuid(vm, DISABLED, kvm_get_supported_cpuid());
	set_x2apic(ENABLED, true);
	set_x2apic(DISABLED, false);

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		row = &rows[i];
		ret = signal_msi(1 << ENABLED, row->data);
		TEST_ASSERT(ret == 1, "%s, enabled: returned %d", row->name,
			    ret);
		ret = signal_msi(1 << DISABLED, row->data);
		TEST_ASSERT(row->taken ? ret == 1 : ret <= 0,
			    "%s, disabled: returned %d", row->name, ret);
		printf("%s: %s\n", row->name, row->taken ? "taken" : "dropped");
	}

	kvm_vm_free(vm);
	return 0;
}
