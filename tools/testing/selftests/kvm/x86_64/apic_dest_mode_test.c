// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who receives an interrupt: a table says it for IPIs, messages (MSI) and
 * IOAPIC interrupts, in each destination mode of the local APIC, and each
 * vCPU's handler counts what arrives there. A sweep over all destinations that
 * a message can name follows, compared with the manuals' rules.
 *
 * The vCPUs run one after the other, so one host CPU is enough: an interrupt
 * waits in a vCPU's IRR until it is this one's turn to run with RFLAGS.IF set.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <stdio.h>
#include <string.h>

#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"

/* SDM Vol. 3, "Local APIC Register Address Map". */
#define APIC_GPA		0xfee00000ul
#define APIC_REG_ID		0x020
#define APIC_REG_TPR		0x080
#define APIC_REG_EOI		0x0b0
#define APIC_REG_LDR		0x0d0
#define APIC_REG_DFR		0x0e0
#define APIC_REG_SVR		0x0f0
#define APIC_REG_LVT0		0x350
#define APIC_REG_SELF_IPI	0x3f0
#define APIC_SVR_ENABLE		BIT(8)
#define APIC_LVT_MASKED		BIT(16)
#define APIC_DFR_FLAT		0xffffffffu
#define APIC_DFR_CLUSTER	0x0fffffffu
#define MSR_APIC_BASE		0x1b

/* The IOAPIC's index and data registers, and its redirection entries. */
#define IOAPIC_GPA		0xfec00000ul
#define IOAPIC_WINDOW		0x10
#define IOAPIC_REDIRECTION	0x10

/* A pin that no PIC shares, and the RTC's, whose EOIs KVM keeps account of. */
#define PIN			20
#define RTC_PIN			8

/* SDM Vol. 3, "Message Address Register Format". */
#define MSI_ADDRESS		0xfee00000u
#define MSI_HINT		BIT(3)
#define MSI_LOGICAL		BIT(2)

#define FIRST_VECTOR		0x30
#define SPURIOUS_VECTOR		0xff
#define NR_VECTORS		(SPURIOUS_VECTOR - FIRST_VECTOR)

/* How many vectors a lowest priority interrupt is tried with. */
#define LOWEST_VECTORS		7

/* The vCPUs, and their bits where a set of them is meant. */
#define NR_VCPUS	5
enum {
	A = BIT(0), B = BIT(1), C = BIT(2), D = BIT(3), E = BIT(4),
	ALL = A | B | C | D | E,
	SELF = BIT(5), OTHERS = BIT(6),
	NONE = 0,
};

/**
 * struct member - a vCPU's addresses
 * @id: APIC ID, which also makes the logical x2APIC ID: cluster 0 or 1
 * @flat: logical xAPIC ID, flat model
 * @cluster: the same, cluster model: cluster 1 or 2
 */
static const struct member {
	uint32_t id;
	uint8_t flat;
	uint8_t cluster;
} members[NR_VCPUS] = {
	{ 0, 0x01, 0x11 },
	{ 1, 0x02, 0x12 },
	{ 2, 0x04, 0x14 },
	{ 16, 0x08, 0x21 },
	{ 18, 0x10, 0x22 },
};

/*
 * The APICs' modes. KVM takes 8-bit destinations in messages, and 0xff for a
 * broadcast, in x2APIC mode too, unless KVM_CAP_X2APIC_API makes them 32 bits.
 */
enum {
	FLAT = BIT(0), CLUSTER = BIT(1), X2APIC = BIT(2), X2APIC_API = BIT(3),
	XAPIC = FLAT | CLUSTER,
	ANY_X2APIC = X2APIC | X2APIC_API,
	ANY = XAPIC | ANY_X2APIC,
};

/* What sends: a vCPU, or the host as a device, by message or pin. */
enum {
	IPI = BIT(0), SELF_IPI = BIT(1), MSI = BIT(2), MSI_HINTED = BIT(3),
	EDGE = BIT(4), LEVEL = BIT(5),
	IOAPIC = EDGE | LEVEL,
	DEVICE = MSI | IOAPIC,
	EACH = IPI | DEVICE,
};

/* In short, for the table. */
#define LOGICAL		APIC_DEST_LOGICAL
#define LOWEST		APIC_DM_LOWEST

/**
 * struct row - an interrupt, and who receives it
 * @modes: where it holds
 * @sources: what sends it, one after the other
 * @dest: destination field
 * @icr: destination mode, delivery mode and shorthand, as in the ICR
 * @to: the receivers; of a lowest priority interrupt, one of them
 */
static const struct row {
	unsigned int modes;
	unsigned int sources;
	uint32_t dest;
	uint32_t icr;
	unsigned int to;
} rows[] = {
	/* Physical: one APIC ID, or all. */
	{ ANY, EACH, 0, 0, A },
	{ ANY, EACH, 1, 0, B },
	{ ANY, EACH, 2, 0, C },
	{ ANY, EACH, 16, 0, D },
	{ ANY, EACH, 18, 0, E },
	{ ANY, EACH, 3, 0, NONE },
	{ ANY, EACH, 17, 0, NONE },
	{ ANY, EACH, 0xfe, 0, NONE },
	{ ANY, DEVICE | MSI_HINTED, 16, LOWEST, D },
	{ XAPIC, IPI, 16, LOWEST, D },
	{ XAPIC, EACH, 0xff, 0, ALL },
	{ X2APIC, DEVICE, 0xff, 0, ALL },
	{ X2APIC, IPI, 0xff, 0, NONE },
	{ X2APIC_API, EACH, 0xff, 0, NONE },
	{ X2APIC, IPI, 0xffffffff, 0, ALL },
	{ X2APIC_API, IPI | MSI, 0xffffffff, 0, ALL },
	{ ANY_X2APIC, IPI, 0x100, 0, NONE },
	{ ANY_X2APIC, IPI, 0x10001, 0, NONE },
	{ ANY_X2APIC, IPI, 0xffffff00, 0, NONE },
	{ X2APIC_API, MSI, 0x100, 0, NONE },
	{ X2APIC_API, MSI, 0xffffff12, 0, NONE },

	/* Logical, flat model: each bit is an APIC. */
	{ FLAT, EACH, 0x01, LOGICAL, A },
	{ FLAT, EACH, 0x10, LOGICAL, E },
	{ FLAT, EACH, 0x03, LOGICAL, A | B },
	{ FLAT, EACH, 0x15, LOGICAL, A | C | E },
	{ FLAT, EACH, 0x1f, LOGICAL, ALL },
	{ FLAT, EACH, 0x7f, LOGICAL, ALL },
	{ FLAT, EACH, 0xff, LOGICAL, ALL },
	{ FLAT, EACH, 0xe8, LOGICAL, D },
	{ FLAT, EACH, 0xe0, LOGICAL, NONE },
	{ FLAT, EACH, 0x00, LOGICAL, NONE },
	{ FLAT, EACH, 0x04, LOGICAL | LOWEST, C },
	{ FLAT, EACH | MSI_HINTED, 0x1a, LOGICAL | LOWEST, B | D | E },
	{ FLAT, EACH | MSI_HINTED, 0x1f, LOGICAL | LOWEST, ALL },
	{ FLAT, EACH | MSI_HINTED, 0xe2, LOGICAL | LOWEST, B },
	{ FLAT, EACH | MSI_HINTED, 0x7f, LOGICAL | LOWEST, ALL },
	{ FLAT, EACH | MSI_HINTED, 0xff, LOGICAL | LOWEST, ALL },
	{ FLAT, EACH, 0xe0, LOGICAL | LOWEST, NONE },
	{ FLAT, EACH, 0x00, LOGICAL | LOWEST, NONE },

	/* Logical, cluster model: four bits of a cluster, then four APICs. */
	{ CLUSTER, EACH, 0x11, LOGICAL, A },
	{ CLUSTER, EACH, 0x13, LOGICAL, A | B },
	{ CLUSTER, EACH, 0x1f, LOGICAL, A | B | C },
	{ CLUSTER, EACH, 0x21, LOGICAL, D },
	{ CLUSTER, EACH, 0x23, LOGICAL, D | E },
	{ CLUSTER, EACH, 0x2d, LOGICAL, D },
	{ CLUSTER, EACH, 0x18, LOGICAL, NONE },
	{ CLUSTER, EACH, 0x10, LOGICAL, NONE },
	{ CLUSTER, EACH, 0x01, LOGICAL, NONE },
	{ CLUSTER, EACH, 0x31, LOGICAL, NONE },
	{ CLUSTER, EACH, 0xf1, LOGICAL, NONE },
	{ CLUSTER, EACH, 0xff, LOGICAL, ALL },
	{ CLUSTER, EACH | MSI_HINTED, 0x17, LOGICAL | LOWEST, A | B | C },
	{ CLUSTER, EACH | MSI_HINTED, 0x1f, LOGICAL | LOWEST, A | B | C },
	{ CLUSTER, EACH | MSI_HINTED, 0x2e, LOGICAL | LOWEST, E },
	{ CLUSTER, EACH | MSI_HINTED, 0xff, LOGICAL | LOWEST, ALL },
	{ CLUSTER, EACH, 0x2c, LOGICAL | LOWEST, NONE },
	{ CLUSTER, EACH, 0x37, LOGICAL | LOWEST, NONE },

	/* Logical x2APIC: 16 bits of a cluster, then 16 APICs. */
	{ ANY_X2APIC, EACH, 0x01, LOGICAL, A },
	{ ANY_X2APIC, EACH, 0x05, LOGICAL, A | C },
	{ ANY_X2APIC, EACH, 0x7f, LOGICAL, A | B | C },
	{ ANY_X2APIC, EACH, 0xf8, LOGICAL, NONE },
	{ ANY_X2APIC, EACH, 0x00, LOGICAL, NONE },
	{ ANY_X2APIC, IPI, 0xff, LOGICAL, A | B | C },
	{ X2APIC_API, DEVICE, 0xff, LOGICAL, A | B | C },
	{ X2APIC, DEVICE, 0xff, LOGICAL, ALL },
	{ ANY_X2APIC, IPI, 0xffff, LOGICAL, A | B | C },
	{ ANY_X2APIC, IPI, 0x10001, LOGICAL, D },
	{ ANY_X2APIC, IPI, 0x10005, LOGICAL, D | E },
	{ ANY_X2APIC, IPI, 0x1ffff, LOGICAL, D | E },
	{ ANY_X2APIC, IPI, 0x10002, LOGICAL, NONE },
	{ ANY_X2APIC, IPI, 0x10000, LOGICAL, NONE },
	{ ANY_X2APIC, IPI, 0x20001, LOGICAL, NONE },
	{ ANY_X2APIC, IPI, 0xffff0001, LOGICAL, NONE },
	{ ANY_X2APIC, IPI, 0xffffffff, LOGICAL, ALL },
	{ X2APIC_API, MSI, 0xffff, LOGICAL, A | B | C },
	{ X2APIC_API, MSI, 0x10005, LOGICAL, D | E },
	{ X2APIC_API, MSI, 0x20001, LOGICAL, NONE },
	{ X2APIC_API, MSI, 0xffffffff, LOGICAL, ALL },
	{ ANY_X2APIC, DEVICE | MSI_HINTED, 0x07, LOGICAL | LOWEST, A | B | C },
	{ ANY_X2APIC, DEVICE | MSI_HINTED, 0x7a, LOGICAL | LOWEST, B },
	{ ANY_X2APIC, DEVICE, 0xf8, LOGICAL | LOWEST, NONE },
	{ X2APIC, DEVICE | MSI_HINTED, 0xff, LOGICAL | LOWEST, ALL },
	{ X2APIC_API, DEVICE | MSI_HINTED, 0xff, LOGICAL | LOWEST, A | B | C },
	{ X2APIC_API, MSI | MSI_HINTED, 0x1ffff, LOGICAL | LOWEST, D | E },
	{ X2APIC_API, MSI | MSI_HINTED, 0x10006, LOGICAL | LOWEST, E },

	/* Shorthands: the destination and its mode mean nothing. */
	{ ANY, IPI, 0, APIC_DEST_SELF, SELF },
	{ ANY, IPI, 0x12, APIC_DEST_SELF | LOGICAL, SELF },
	{ ANY, IPI, 0, APIC_DEST_ALLINC, ALL },
	{ ANY, IPI, 0x01, APIC_DEST_ALLINC | LOGICAL, ALL },
	{ ANY, IPI, 0, APIC_DEST_ALLBUT, OTHERS },
	{ ANY, IPI, 0xff, APIC_DEST_ALLBUT | LOGICAL, OTHERS },
	{ ANY_X2APIC, SELF_IPI, 0, 0, SELF },
};

/**
 * struct setup - how the VM's APICs are set up
 * @name: of it
 * @mode: of all of them
 * @off: those that their software has disabled: they receive nothing
 */
static const struct setup {
	const char *name;
	unsigned int mode;
	unsigned int off;
} setups[] = {
	{ "xAPIC, flat", FLAT, NONE },
	{ "xAPIC, flat, C off", FLAT, C },
	{ "xAPIC, cluster", CLUSTER, NONE },
	{ "xAPIC, cluster, C off", CLUSTER, C },
	{ "x2APIC", X2APIC, NONE },
	{ "x2APIC, C off", X2APIC, C },
	{ "x2APIC, 32-bit messages", X2APIC_API, NONE },
	{ "x2APIC, 32-bit messages, C off", X2APIC_API, C },
};

/**
 * struct request - what a vCPU is to do in its turn
 * @what: the job
 * @mode: of the APICs
 * @off: disable the local APIC
 * @id: what its ID register shall read
 * @ldr: what its LDR reads or, in xAPIC mode, gets
 * @dest: of an IPI
 * @icr: of an IPI, or a vector for the self-IPI register
 * @pin: to program
 * @entry: for it
 */
static struct request {
	enum { SET_UP, SEND, SEND_SELF, TAKE, PROGRAM } what;
	unsigned int mode;
	bool off;
	uint32_t id;
	uint32_t ldr;
	uint32_t dest;
	uint32_t icr;
	unsigned int pin;
	uint64_t entry;
} request;

/* How often the running vCPU took each vector since its last turn. */
static uint32_t taken[256];

/*
 * The guest.
 */

static bool in_x2apic_mode(void)
{
	return request.mode & ANY_X2APIC;
}

static uint32_t apic_read(unsigned int reg)
{
	if (in_x2apic_mode())
		return rdmsr(APIC_BASE_MSR + (reg >> 4));
	return READ_ONCE(*(uint32_t *)(APIC_GPA + reg));
}

static void apic_write(unsigned int reg, uint32_t value)
{
	if (in_x2apic_mode())
		wrmsr(APIC_BASE_MSR + (reg >> 4), value);
	else
		WRITE_ONCE(*(uint32_t *)(APIC_GPA + reg), value);
}

static void handle_interrupt(struct ex_regs *regs)
{
	taken[regs->vector]++;
	apic_write(APIC_REG_EOI, 0);
}

static void set_logical_id(void)
{
	apic_write(APIC_REG_DFR, request.mode == FLAT ? APIC_DFR_FLAT :
							APIC_DFR_CLUSTER);
	apic_write(APIC_REG_LDR, request.ldr);
}

static void set_up_apic(void)
{
	uint32_t off = request.off ? 0 : APIC_SVR_ENABLE;

	if (in_x2apic_mode())
		wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | X2APIC_ENABLE);
	else
		set_logical_id();
	apic_write(APIC_REG_SVR, SPURIOUS_VECTOR | off);
	apic_write(APIC_REG_LVT0, APIC_LVT_MASKED);
	apic_write(APIC_REG_TPR, 0);
	GUEST_ASSERT_1(apic_read(APIC_REG_ID) == request.id,
		       apic_read(APIC_REG_ID));
	GUEST_ASSERT_1(apic_read(APIC_REG_LDR) == request.ldr,
		       apic_read(APIC_REG_LDR));
}

static void send_ipi(void)
{
	if (in_x2apic_mode()) {
		wrmsr(APIC_BASE_MSR + (APIC_ICR >> 4),
		      (uint64_t)request.dest << 32 | request.icr);
		return;
	}
	apic_write(APIC_ICR2, request.dest << 24);
	apic_write(APIC_ICR, request.icr);
}

static void ioapic_write(unsigned int reg, uint32_t value)
{
	WRITE_ONCE(*(uint32_t *)IOAPIC_GPA, reg);
	WRITE_ONCE(*(uint32_t *)(IOAPIC_GPA + IOAPIC_WINDOW), value);
}

static void program_pin(void)
{
	unsigned int reg = IOAPIC_REDIRECTION + 2 * request.pin;

	ioapic_write(reg + 1, request.entry >> 32);
	ioapic_write(reg, request.entry);
}

static void guest_code(void)
{
	for (;;) {
		switch (READ_ONCE(request.what)) {
		case SET_UP:
			set_up_apic();
			break;
		case SEND:
			send_ipi();
			break;
		case SEND_SELF:
			apic_write(APIC_REG_SELF_IPI, request.icr);
			break;
		case PROGRAM:
			program_pin();
			break;
		case TAKE:
			asm volatile("sti; nop; nop; cli" : : : "memory");
			break;
		}
		GUEST_SYNC(0);
	}
}

/*
 * The host.
 */

static struct kvm_vm *vm;
static const struct setup *setup;
static unsigned long interrupts, receipts;

/* received[vector][i]: how often vCPU i took it in the last round. */
static uint32_t received[256][NR_VCPUS];

static void turn_of(unsigned int i)
{
	uint32_t id = members[i].id;
	struct kvm_run *run = vcpu_state(vm, id);
	struct ucall uc;

	request.mode = setup->mode;
	sync_global_to_guest(vm, request);
	vcpu_run(vm, id);
	assert_on_unhandled_exception(vm, id);
	switch (get_ucall(vm, id, &uc)) {
	case UCALL_SYNC:
		break;
	case UCALL_ABORT:
		TEST_FAIL("%s, vCPU %u: %s, line %ld: %#lx", setup->name, id,
			  (const char *)uc.args[0], uc.args[1], uc.args[2]);
		break;
	default:
		TEST_FAIL("%s, vCPU %u: %s", setup->name, id,
			  exit_reason_str(run->exit_reason));
	}
}

static uint32_t x2apic_logical_id(uint32_t id)
{
	return id / 16 << 16 | 1u << id % 16;
}

static void set_up_vcpu(unsigned int i)
{
	const struct member *member = &members[i];

	request.what = SET_UP;
	request.off = setup->off & BIT(i);
	if (setup->mode & ANY_X2APIC) {
		request.id = member->id;
		request.ldr = x2apic_logical_id(member->id);
	} else {
		request.id = member->id << 24;
		request.ldr = (setup->mode == FLAT ? member->flat :
						     member->cluster) << 24;
	}
	turn_of(i);
}

/* The RTC's pin is one of the PIC's too: it shall not count there. */
static void mask_pic(void)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_PIC_MASTER };

	for (; chip.chip_id <= KVM_IRQCHIP_PIC_SLAVE; chip.chip_id++) {
		vm_ioctl(vm, KVM_GET_IRQCHIP, &chip);
		chip.chip.pic.imr = 0xff;
		vm_ioctl(vm, KVM_SET_IRQCHIP, &chip);
	}
}

static void create_vm(void)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X2APIC_API,
		.args = { KVM_X2APIC_API_USE_32BIT_IDS |
			  KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK },
	};
	unsigned int i, vector;

	vm = vm_create_default(members[0].id, 0, guest_code);
	if (setup->mode == X2APIC_API)
		vm_enable_cap(vm, &cap);
	for (i = 1; i < NR_VCPUS; i++)
		vm_vcpu_add_default(vm, members[i].id, guest_code);

	virt_pg_map(vm, APIC_GPA, APIC_GPA, 0);
	virt_pg_map(vm, IOAPIC_GPA, IOAPIC_GPA, 0);
	vm_init_descriptor_tables(vm);
	for (vector = 32; vector < 256; vector++)
		vm_handle_exception(vm, vector, handle_interrupt);
	mask_pic();

	for (i = 0; i < NR_VCPUS; i++) {
		vcpu_set_cpuid(vm, members[i].id, kvm_get_supported_cpuid());
		vcpu_init_descriptor_tables(vm, members[i].id);
		set_up_vcpu(i);
	}
}

/* Let the vCPU take what waits, and add it to what was received. */
static void take(unsigned int i)
{
	unsigned int vector;

	memset(taken, 0, sizeof(taken));
	sync_global_to_guest(vm, taken);
	request.what = TAKE;
	turn_of(i);
	sync_global_from_guest(vm, taken);
	for (vector = 0; vector < 256; vector++)
		received[vector][i] += taken[vector];
}

static void take_all(void)
{
	unsigned int i;

	memset(received, 0, sizeof(received));
	for (i = 0; i < NR_VCPUS; i++)
		take(i);
}

static uint8_t next_vector(void)
{
	static unsigned int n;

	return FIRST_VECTOR + n++ % NR_VECTORS;
}

/**
 * struct shot - one interrupt on its way
 * @source: one of a row's
 * @sender: the vCPU that sends it or, where a device does, that programs the
 *	IOAPIC; NR_VCPUS: the host does
 * @dest: destination field
 * @icr: destination mode, delivery mode and shorthand
 * @vector: its
 */
struct shot {
	unsigned int source;
	unsigned int sender;
	uint32_t dest;
	uint32_t icr;
	uint8_t vector;
};

static const char *source_name(unsigned int source)
{
	switch (source) {
	case IPI:
		return "IPI";
	case SELF_IPI:
		return "self-IPI register";
	case MSI:
		return "message";
	case MSI_HINTED:
		return "message with redirection hint";
	case EDGE:
		return "IOAPIC pin, edge";
	case LEVEL:
		return "IOAPIC pin, level";
	}
	return "?";
}

/* The vCPUs that took a vector, as a set; each at most once. */
static unsigned int takers(const struct shot *shot)
{
	unsigned int i, set = 0;

	for (i = 0; i < NR_VCPUS; i++) {
		TEST_ASSERT(received[shot->vector][i] <= 1,
			    "%s: %s to %#x, ICR %#x: vCPU %u took it %u times",
			    setup->name, source_name(shot->source), shot->dest,
			    shot->icr, members[i].id,
			    received[shot->vector][i]);
		if (received[shot->vector][i])
			set |= BIT(i);
	}
	return set;
}

static void check_takers(const struct shot *shot, unsigned int to)
{
	bool lowest = shot->icr & LOWEST;
	unsigned int set = takers(shot);
	bool right;

	if (lowest && to)
		right = !(set & ~to) && __builtin_popcount(set) == 1;
	else
		right = set == to;
	TEST_ASSERT(right,
		    "%s: %s from %u to %#x, ICR %#x, vector %#x: taken by %#x, not %s%#x",
		    setup->name, source_name(shot->source), shot->sender,
		    shot->dest, shot->icr, shot->vector, set,
		    lowest ? "one of " : "", to);
	interrupts++;
	receipts += __builtin_popcount(set);
}

/* After a round with a single interrupt: nobody took another vector. */
static void check_no_other(const struct shot *shot)
{
	unsigned int vector, i;

	for (vector = 0; vector < 256; vector++)
		for (i = 0; i < NR_VCPUS; i++)
			TEST_ASSERT(vector == shot->vector ||
				    !received[vector][i],
				    "%s: vCPU %u took vector %#x, sent was %#x",
				    setup->name, members[i].id, vector,
				    shot->vector);
}

static void signal_msi(const struct shot *shot, unsigned int to)
{
	struct kvm_msi msi = {
		.address_lo = MSI_ADDRESS | (shot->dest & 0xff) << 12,
		.address_hi = shot->dest & ~0xffu,
		.data = shot->vector,
	};
	int r;

	if (shot->icr & LOGICAL)
		msi.address_lo |= MSI_LOGICAL;
	if (shot->source == MSI_HINTED)
		msi.address_lo |= MSI_HINT;
	else
		msi.data |= shot->icr & LOWEST;
	r = ioctl(vm_get_fd(vm), KVM_SIGNAL_MSI, &msi);
	TEST_ASSERT(to ? r > 0 : r <= 0,
		    "%s: KVM_SIGNAL_MSI to %#x, ICR %#x returned %d",
		    setup->name, shot->dest, shot->icr, r);
}

static uint64_t redirection(const struct shot *shot)
{
	uint64_t entry = shot->vector | shot->icr | (uint64_t)shot->dest << 56;

	return shot->source == LEVEL ? entry | APIC_INT_LEVELTRIG : entry;
}

static void set_pin(unsigned int pin, uint64_t entry)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };

	vm_ioctl(vm, KVM_GET_IRQCHIP, &chip);
	chip.chip.ioapic.redirtbl[pin].bits = entry;
	vm_ioctl(vm, KVM_SET_IRQCHIP, &chip);
}

static bool remote_irr(unsigned int pin)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };

	vm_ioctl(vm, KVM_GET_IRQCHIP, &chip);
	return chip.chip.ioapic.redirtbl[pin].fields.remote_irr;
}

/*
 * KVM tells each vCPU at its next entry which EOIs the IOAPIC wants to see. Where
 * that matters, all enter before the interrupt is there, which would tell, too.
 */
static void program(const struct shot *shot, unsigned int pin)
{
	if (shot->sender == NR_VCPUS) {
		set_pin(pin, redirection(shot));
	} else {
		request.what = PROGRAM;
		request.pin = pin;
		request.entry = redirection(shot);
		turn_of(shot->sender);
	}
	if (shot->source == LEVEL || pin == RTC_PIN)
		take_all();
}

static void set_line(unsigned int pin, unsigned int level)
{
	struct kvm_irq_level line = { .irq = pin, .level = level };

	vm_ioctl(vm, KVM_IRQ_LINE, &line);
}

static void pulse(unsigned int pin)
{
	set_line(pin, 1);
	set_line(pin, 0);
}

/*
 * A level-triggered interrupt is held back by Remote IRR until one of its
 * receivers' EOI has cleared it: so the second pulse arrives if and only if
 * the EOI found its way back.
 */
static void fire_pin(const struct shot *shot, unsigned int to)
{
	program(shot, PIN);
	pulse(PIN);
	if (shot->source == EDGE)
		return;
	TEST_ASSERT(remote_irr(PIN) == !!to,
		    "%s: pin to %#x, ICR %#x: Remote IRR is %d", setup->name,
		    shot->dest, shot->icr, remote_irr(PIN));
	take_all();
	check_takers(shot, to);
	TEST_ASSERT(!remote_irr(PIN),
		    "%s: pin to %#x, ICR %#x: the EOI left Remote IRR set",
		    setup->name, shot->dest, shot->icr);
	pulse(PIN);
}

static void fire(const struct shot *shot, unsigned int to)
{
	switch (shot->source) {
	case IPI:
		request.what = SEND;
		request.dest = shot->dest;
		request.icr = shot->icr | APIC_INT_ASSERT | shot->vector;
		turn_of(shot->sender);
		break;
	case SELF_IPI:
		request.what = SEND_SELF;
		request.icr = shot->vector;
		turn_of(shot->sender);
		break;
	case MSI:
	case MSI_HINTED:
		signal_msi(shot, to);
		break;
	case EDGE:
	case LEVEL:
		fire_pin(shot, to);
		break;
	}
}

static void check_shot(const struct shot *shot, unsigned int to)
{
	fire(shot, to);
	take_all();
	check_takers(shot, to);
	check_no_other(shot);
}

static unsigned int receivers(const struct row *row, unsigned int sender)
{
	switch (row->to) {
	case SELF:
		return BIT(sender) & ~setup->off;
	case OTHERS:
		return ALL & ~BIT(sender) & ~setup->off;
	}
	return row->to & ~setup->off;
}

static void check_row_from(const struct row *row, unsigned int source,
			   unsigned int sender)
{
	struct shot shot = {
		.source = source,
		.sender = sender,
		.dest = row->dest,
		.icr = row->icr,
	};
	unsigned int i, count = row->icr & LOWEST ? LOWEST_VECTORS : 1;

	for (i = 0; i < count; i++) {
		shot.vector = next_vector();
		check_shot(&shot, receivers(row, sender));
	}
}

/* Each vCPU sends IPIs; the host and one vCPU program the IOAPIC. */
static unsigned int senders(unsigned int source)
{
	if (source & (IPI | SELF_IPI))
		return ALL;
	if (source & IOAPIC)
		return D | BIT(NR_VCPUS);
	return BIT(NR_VCPUS);
}

static void check_row(const struct row *row)
{
	unsigned int source, sender;

	for (source = IPI; source <= LEVEL; source <<= 1) {
		if (!(row->sources & source))
			continue;
		for (sender = 0; sender <= NR_VCPUS; sender++)
			if (senders(source) & BIT(sender))
				check_row_from(row, source, sender);
	}
}

static void check_rows(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].modes & setup->mode)
			check_row(&rows[i]);
}

/* SDM Vol. 3, "Determining IPI Destination", for a message's 8 bits. */
static bool is_addressed(const struct member *member, uint32_t dest,
			 bool logical)
{
	uint32_t x2apic_id = x2apic_logical_id(member->id);

	if (dest == 0xff && setup->mode != X2APIC_API)
		return true;
	if (!logical)
		return dest == member->id;
	switch (setup->mode) {
	case FLAT:
		return dest & member->flat;
	case CLUSTER:
		return dest >> 4 == member->cluster >> 4 &&
		       (dest & member->cluster & 0xf);
	default:
		return !(x2apic_id >> 16) && (dest & x2apic_id);
	}
}

static unsigned int addressed(uint32_t dest, bool logical)
{
	unsigned int i, set = 0;

	for (i = 0; i < NR_VCPUS; i++)
		if (is_addressed(&members[i], dest, logical))
			set |= BIT(i);
	return set & ~setup->off;
}

/* As many messages at once as there are vectors, to successive destinations. */
static void check_messages(unsigned int first, unsigned int count, uint32_t icr)
{
	struct shot shot = { .source = MSI, .sender = NR_VCPUS, .icr = icr };
	unsigned int i;

	for (i = 0; i < count; i++) {
		shot.dest = first + i;
		shot.vector = FIRST_VECTOR + i;
		signal_msi(&shot, addressed(shot.dest, icr & LOGICAL));
	}
	take_all();
	for (i = 0; i < count; i++) {
		shot.dest = first + i;
		shot.vector = FIRST_VECTOR + i;
		check_takers(&shot, addressed(shot.dest, icr & LOGICAL));
	}
}

/*
 * The manuals leave a physical broadcast with lowest priority undefined: the
 * sweep over the physical destinations ends before it.
 */
static void sweep(void)
{
	static const uint32_t icrs[] = {
		0, LOWEST, LOGICAL, LOGICAL | LOWEST
	};
	unsigned int i, first, end;

	for (i = 0; i < ARRAY_SIZE(icrs); i++) {
		end = icrs[i] == LOWEST ? 0xff : 0x100;
		for (first = 0; first < end; first += NR_VECTORS)
			check_messages(first, end - first < NR_VECTORS ?
					      end - first : NR_VECTORS,
				       icrs[i]);
	}
}

static int pulse_rtc(void)
{
	struct kvm_irq_level line = { .irq = RTC_PIN, .level = 1 };
	int status;

	vm_ioctl(vm, KVM_IRQ_LINE_STATUS, &line);
	status = line.status;
	line.level = 0;
	vm_ioctl(vm, KVM_IRQ_LINE_STATUS, &line);
	return status;
}

/*
 * The RTC's interrupt counts as lost (status 0) as long as any of its receivers
 * owes an EOI: KVM must find them by the same rules.
 */
static void check_rtc(uint32_t dest, uint32_t icr)
{
	unsigned int to = addressed(dest, icr & LOGICAL);
	struct shot shot = {
		.source = EDGE,
		.sender = NR_VCPUS,
		.dest = dest,
		.icr = icr,
		.vector = next_vector(),
	};
	unsigned int i;
	int status;

	program(&shot, RTC_PIN);
	memset(received, 0, sizeof(received));
	for (i = 0; i < NR_VCPUS && to >> i; i++) {
		status = pulse_rtc();
		TEST_ASSERT(status == (i ? 0 : __builtin_popcount(to)),
			    "%s: RTC to %#x, ICR %#x: status %d when vCPU %u is next",
			    setup->name, dest, icr, status, members[i].id);
		take(i);
	}
	check_takers(&shot, to);
}

static void check_rtcs(void)
{
	unsigned int i;
	uint32_t dest;

	for (i = 0; i < NR_VCPUS; i++)
		check_rtc(members[i].id, 0);
	check_rtc(0xff, 0);
	for (dest = 0x01; dest < 0x30; dest++)
		check_rtc(dest, LOGICAL);
	check_rtc(0xff, LOGICAL);
}

static void check_setup(void)
{
	create_vm();
	check_rows();
	sweep();
	check_rtcs();
	kvm_vm_free(vm);
	printf("%s: %lu interrupts, %lu receipts so far\n", setup->name,
	       interrupts, receipts);
}

int main(int argc, char *argv[])
{
	unsigned int i;

	setbuf(stdout, NULL);
	for (i = 0; i < ARRAY_SIZE(setups); i++) {
		setup = &setups[i];
		check_setup();
	}
	return 0;
}
