// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM whose ioctls may fail, unlike the library's. Its memory lies between
 * guard pages that hold a pattern.
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "generated_states.h"

#define PTE_P		0x1ull
#define PTE_W		0x2ull
#define PTE_U		0x4ull
#define PTE_A		0x20ull
#define PTE_D		0x40ull
#define PTE_PS		0x80ull
#define PTE_RWX		(PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)
#define EPT_RWX		0x7ull
#define EPT_WB		(6ull << 3)

#define GUARD		0xa5

struct capabilities caps;
int kvm_fd;

static struct kvm_cpuid2 *get_cpuid(unsigned long request)
{
	struct kvm_cpuid2 *cpuid;

	cpuid = calloc(1, sizeof(*cpuid) +
			  MAX_CPUID * sizeof(cpuid->entries[0]));
	cpuid->nent = MAX_CPUID;
	if (ioctl(kvm_fd, request, cpuid))
		cpuid->nent = 0;
	return cpuid;
}

static bool cap(int nr)
{
	return ioctl(kvm_fd, KVM_CHECK_EXTENSION, nr) > 0;
}

/* QEMU's TCG calls abort() for an exception if TR is no TSS. */
static bool on_tcg(void)
{
	unsigned int eax, signature[3];

	__cpuid(0x40000000, eax, signature[0], signature[1], signature[2]);
	return !memcmp(signature, "TCGTCGTCGTCG", 12);
}

void keep_tr(struct kvm_sregs *sregs)
{
	if (!caps.keep_tr)
		return;
	sregs->tr.present = 1;
	sregs->tr.s = 0;
	sregs->tr.type = 11;
	sregs->tr.unusable = 0;
}

/* Is that part of struct kvm_run the TR of its registers? */
bool in_tr(size_t offset)
{
	const size_t tr = offsetof(struct kvm_run, s.regs.sregs.tr);

	return offset >= (tr & ~7ul) && offset < tr + sizeof(struct kvm_segment);
}

void get_capabilities(void)
{
	struct {
		struct kvm_msr_list list;
		uint32_t indices[MAX_MSRS];
	} msrs = { { MAX_MSRS } };
	struct kvm_cpuid_entry2 *e;
	unsigned int i;

	caps.run_size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	caps.cpuid = get_cpuid(KVM_GET_SUPPORTED_CPUID);
	caps.maxphyaddr = 36;
	for (i = 0; i < caps.cpuid->nent; i++) {
		e = &caps.cpuid->entries[i];
		if (e->function == 1 && (e->ecx & (1u << 5)))
			caps.vmx = true;
		if (e->function == 0x80000001 && (e->ecx & (1u << 2)))
			caps.svm = true;
		if (e->function == 0x8000000a && (e->edx & 1))
			caps.npt = true;
		if (e->function == 0x80000008)
			caps.maxphyaddr = e->eax & 0xff;
	}
	caps.sync_regs = cap(KVM_CAP_SYNC_REGS);
	caps.nested_state = cap(KVM_CAP_NESTED_STATE);
	caps.smm = cap(KVM_CAP_X86_SMM);
	caps.keep_tr = on_tcg();
	if (!ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, &msrs.list)) {
		caps.nr_msrs = msrs.list.nmsrs;
		memcpy(caps.msrs, msrs.list.indices, sizeof(caps.msrs));
	}
}

uint64_t guest_address(const char *symbol)
{
	return GPA_CODE + (symbol - guest_start);
}

void *gvm_hva(struct gvm *vm, uint64_t gpa)
{
	struct gslot *slot;
	unsigned int i;

	for (i = 0; i < NR_SLOTS; i++) {
		slot = &vm->slots[i];
		if (gpa >= slot->gpa && gpa < slot->gpa + slot->size)
			return slot->hva + (gpa - slot->gpa);
	}
	return NULL;
}

static void slot_alloc(struct gslot *slot, uint64_t gpa, struct rng *rng)
{
	uintptr_t hva;

	slot->gpa = gpa;
	slot->size = SLOT_SIZE;
	slot->map = mmap(NULL, 3 * SLOT_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (slot->map == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	hva = ((uintptr_t)slot->map + SLOT_SIZE) & ~(SLOT_SIZE - 1ul);
	/* Large pages need hva and gpa to be alike. */
	if (one_in(rng, 4))
		hva += PAGE_SIZE;
	slot->hva = (void *)hva;
	if (!one_in(rng, 4))
		madvise(slot->map, 3 * SLOT_SIZE, MADV_NOHUGEPAGE);
	memset(slot->hva - PAGE_SIZE, GUARD, PAGE_SIZE);
	memset(slot->hva + slot->size, GUARD, PAGE_SIZE);
}

static bool all_guard(const unsigned char *page)
{
	unsigned int i;

	for (i = 0; i < PAGE_SIZE; i++)
		if (page[i] != GUARD)
			return false;
	return true;
}

bool gvm_guards_intact(struct gvm *vm)
{
	unsigned int i;

	for (i = 0; i < NR_SLOTS; i++)
		if (!all_guard(vm->slots[i].hva - PAGE_SIZE) ||
		    !all_guard(vm->slots[i].hva + vm->slots[i].size))
			return false;
	return true;
}

int gvm_set_slot(struct gvm *vm, unsigned int nr, bool exists, uint32_t flags)
{
	struct gslot *slot = &vm->slots[nr];
	struct kvm_userspace_memory_region region = {
		.slot = nr,
		.flags = flags,
		.guest_phys_addr = slot->gpa,
		.memory_size = exists ? slot->size : 0,
		.userspace_addr = (uintptr_t)slot->hva,
	};
	int r;

	r = ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
	if (!r) {
		slot->exists = exists;
		slot->flags = flags;
	}
	return r;
}

/*
 * What maps the page @i of the first 2 MiB. The page tables themselves are not
 * mapped: QEMU's TCG never leaves an instruction that begins at the end of a page
 * table if the walk for its second page uses the same table.
 */
static uint64_t low_pte(unsigned int i)
{
	return i >= GPA_PML4 / 4096 && i < GPA_PML4 / 4096 + NR_TABLES ? 0 :
	       i * 0x1000ull | PTE_RWX;
}

/* 4 KiB pages below GPA_DATA, then a large page for each data slot. */
void gvm_write_tables(struct gvm *vm)
{
	uint64_t *pml4 = gvm_hva(vm, GPA_PML4), *pdpt = pml4 + 512,
		 *pd = pdpt + 512, *pt = pd + 512;
	unsigned int i;

	pml4[0] = (GPA_PML4 + 0x1000) | PTE_RWX;
	pdpt[0] = (GPA_PML4 + 0x2000) | PTE_RWX;
	/* The APICs' pages. */
	pdpt[3] = (GPA_PML4 + 0x4000) | PTE_RWX;
	pt[512 + 0x1f7] = 0xfee00000ull | PTE_RWX | PTE_PS;
	pt[512 + 0x1f6] = 0xfec00000ull | PTE_RWX | PTE_PS;
	pd[0] = (GPA_PML4 + 0x3000) | PTE_RWX;
	for (i = 0; i < 512; i++)
		pt[i] = low_pte(i);
	for (i = 1; i < 64; i++)
		pd[i] = i * 0x200000ull | PTE_RWX | PTE_PS;
}

/* L2 finds the data slots' memory shifted by a slot or more. */
void gvm_write_nested_tables(struct gvm *vm, uint64_t shift)
{
	uint64_t table = caps.vmx ? EPT_RWX : PTE_RWX;
	uint64_t leaf = caps.vmx ? EPT_RWX | EPT_WB : PTE_RWX;
	uint64_t *pml4 = gvm_hva(vm, GPA_NPML4), *pdpt = pml4 + 512,
		 *pd = pdpt + 512, *pt = pd + 512;
	unsigned int i;

	pml4[0] = (GPA_NPML4 + 0x1000) | table;
	pdpt[0] = (GPA_NPML4 + 0x2000) | table;
	pd[0] = (GPA_NPML4 + 0x3000) | table;
	for (i = 0; i < 512; i++)
		pt[i] = i * 0x1000ull | leaf;
	for (i = 0; i < 64; i++) {
		uint64_t to = (i + shift) % NR_DATA_SLOTS;

		pd[1 + i] = (GPA_DATA + to * SLOT_SIZE) | leaf | PTE_PS;
	}
}

static void write_descriptors(struct gvm *vm)
{
	uint64_t *gdt = gvm_hva(vm, GPA_GDT), *idt = gvm_hva(vm, GPA_IDT);
	uint64_t handler = guest_address(guest_vectors);
	uint64_t stack = GPA_STACK + 0x8000;
	unsigned int i;

	gdt[0] = 0;
	gdt[1] = 0x00af9b000000ffffull;
	gdt[2] = 0x00cf93000000ffffull;
	gdt[3] = 0x0000890000000067ull | (uint64_t)GPA_TSS << 16;
	gdt[4] = 0;
	/* RSP0 and IST1 */
	memcpy(gvm_hva(vm, GPA_TSS + 4), &stack, 8);
	memcpy(gvm_hva(vm, GPA_TSS + 36), &stack, 8);
	/* Trap gates: an emulator interrupts a guest with IF only. */
	for (i = 0; i < 256; i++) {
		idt[2 * i] = (handler & 0xffff) | SEL_CS << 16 | 1ull << 32 |
			     0xefull << 40 | (handler >> 16 & 0xffff) << 48;
		idt[2 * i + 1] = handler >> 32;
	}
}

static void good_sregs(struct gvcpu *vcpu)
{
	struct kvm_sregs *s = &vcpu->sregs;

	s->cs = (struct kvm_segment){ .limit = ~0u, .selector = SEL_CS,
		.type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
	s->ds = (struct kvm_segment){ .limit = ~0u, .selector = SEL_DS,
		.type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };
	s->es = s->ds;
	s->fs = s->ds;
	s->gs = s->ds;
	s->ss = s->ds;
	s->tr = (struct kvm_segment){ .base = GPA_TSS, .limit = 0x67,
		.selector = SEL_TR, .type = 11, .present = 1 };
	s->ldt = (struct kvm_segment){ .unusable = 1 };
	s->gdt = (struct kvm_dtable){ .base = GPA_GDT, .limit = 0x27 };
	s->idt = (struct kvm_dtable){ .base = GPA_IDT, .limit = 0xfff };
	/* PG WP NE ET MP PE, OSXSAVE OSXMMEXCPT OSFXSR PAE */
	s->cr0 = 0x80010033;
	s->cr3 = GPA_PML4;
	s->cr4 = 0x620;
	/* NX LMA LME SCE */
	s->efer = 0xd01;
	if (caps.svm && vcpu->vm->nested)
		s->efer |= 1 << 12;
	if (caps.vmx && vcpu->vm->nested)
		s->cr4 |= 1 << 13;
}

uint64_t gvm_ops_gpa(struct gvcpu *vcpu, bool l2)
{
	return GPA_OPS + (2 * vcpu->id + l2) * PAGE_SIZE;
}

uint64_t gvm_stack_gpa(struct gvcpu *vcpu, bool l2)
{
	return GPA_STACK + (2 * vcpu->id + l2 + 1) * PAGE_SIZE;
}

struct op_entry *gvm_ops(struct gvcpu *vcpu, bool l2)
{
	return gvm_hva(vcpu->vm, gvm_ops_gpa(vcpu, l2));
}

static void good_regs(struct gvcpu *vcpu)
{
	vcpu->regs = (struct kvm_regs){
		.rip = guest_address(guest_interpret),
		.rflags = 0x202,
		.rsp = gvm_stack_gpa(vcpu, false),
		.r13 = gvm_stack_gpa(vcpu, false),
		.r15 = gvm_ops_gpa(vcpu, false),
		.r14 = gvm_ops_gpa(vcpu, false) + PAGE_SIZE,
	};
}

static void leave_nested(struct gvcpu *vcpu)
{
	struct kvm_nested_state state = {
		.size = sizeof(state),
		.format = caps.vmx ? KVM_STATE_NESTED_FORMAT_VMX :
				     KVM_STATE_NESTED_FORMAT_SVM,
	};

	if (caps.vmx) {
		state.hdr.vmx.vmxon_pa = -1ull;
		state.hdr.vmx.vmcs12_pa = -1ull;
	} else {
		state.flags = KVM_STATE_NESTED_GIF_SET;
	}
	ioctl(vcpu->fd, KVM_SET_NESTED_STATE, &state);
}

static bool set(struct gvcpu *vcpu, unsigned long request, const void *data,
		const char *name)
{
	if (!ioctl(vcpu->fd, request, data))
		return true;
	count(name, false);
	return false;
}

/* As a VMM resets a vCPU, the nested state early or late. */
bool gvm_reset_vcpu(struct gvcpu *vcpu, struct rng *rng)
{
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };
	struct kvm_guest_debug no_debug = { 0 };
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[3];
	} msrs = { { 3 }, {
		{ .index = 0x3a, .data = 5 },
		{ .index = 0xc0010117, .data = GPA_BLOCK + BLOCK_HSAVE +
					       vcpu->id * VCPU_BLOCK },
		{ .index = 0x277, .data = 0x0007040600070406ull },
	} };
	bool late = one_in(rng, 2), ok;

	/* VMLOAD must find a TSS, see keep_tr(). */
	if (caps.svm)
		vmcb_setup(vcpu, rng);
	memset(vcpu->run, 0, offsetof(struct kvm_run, exit_reason));
	vcpu->run->kvm_dirty_regs = 0;
	vcpu->run->kvm_valid_regs = 0;
	if (!late)
		leave_nested(vcpu);
	ok = set(vcpu, KVM_SET_CPUID2, vcpu->vm->cpuid, "reset CPUID2") &&
	     set(vcpu, KVM_SET_VCPU_EVENTS, &vcpu->events, "reset VCPU_EVENTS") &&
	     set(vcpu, KVM_SET_MP_STATE, &runnable, "reset MP_STATE") &&
	     set(vcpu, KVM_SET_SREGS, &vcpu->sregs, "reset SREGS") &&
	     set(vcpu, KVM_SET_REGS, &vcpu->regs, "reset REGS") &&
	     set(vcpu, KVM_SET_XCRS, &vcpu->xcrs, "reset XCRS") &&
	     set(vcpu, KVM_SET_DEBUGREGS, &vcpu->debugregs, "reset DEBUGREGS") &&
	     set(vcpu, KVM_SET_GUEST_DEBUG, &no_debug, "reset GUEST_DEBUG");
	ioctl(vcpu->fd, KVM_SET_MSRS, &msrs);
	/* Some of it again: what left nested mode may have loaded L1's. */
	if (late) {
		leave_nested(vcpu);
		ok = ok &&
		     set(vcpu, KVM_SET_SREGS, &vcpu->sregs, "reset SREGS") &&
		     set(vcpu, KVM_SET_REGS, &vcpu->regs, "reset REGS");
	}
	vcpu->dead = false;
	return ok;
}

static void vcpu_create(struct gvm *vm, unsigned int id)
{
	struct gvcpu *vcpu = &vm->vcpus[id];

	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, id);
	vcpu->run_size = caps.run_size;
	vcpu->run = vcpu->fd < 0 ? MAP_FAILED :
		    mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		perror("KVM_CREATE_VCPU");
		exit(1);
	}
	ioctl(vcpu->fd, KVM_SET_CPUID2, vm->cpuid);
	ioctl(vcpu->fd, KVM_GET_SREGS, &vcpu->sregs);
	ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &vcpu->events);
	ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &vcpu->debugregs);
	ioctl(vcpu->fd, KVM_GET_XCRS, &vcpu->xcrs);
	vcpu->events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING |
			      KVM_VCPUEVENT_VALID_SHADOW;
	if (caps.smm)
		vcpu->events.flags |= KVM_VCPUEVENT_VALID_SMM;
	good_sregs(vcpu);
	good_regs(vcpu);
}

struct gvm *gvm_create(struct rng *rng, unsigned int nr_vcpus, bool nested)
{
	struct gvm *vm = calloc(1, sizeof(*vm));
	unsigned int i;

	vm->fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	if (vm->fd < 0) {
		perror("KVM_CREATE_VM");
		exit(1);
	}
	vm->nested = nested && (caps.vmx || caps.svm);
	vm->nested_paging = !one_in(rng, 4) && (caps.vmx || caps.npt);
	vm->cpuid = caps.cpuid;
	vm->irqchip = one_in(rng, 2);
	ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000ul);
	if (vm->irqchip) {
		struct kvm_pit_config pit = { 0 };

		ioctl(vm->fd, KVM_CREATE_IRQCHIP);
		ioctl(vm->fd, KVM_CREATE_PIT2, &pit);
	}
	for (i = 0; i < NR_SLOTS; i++) {
		slot_alloc(&vm->slots[i], i * (uint64_t)SLOT_SIZE, rng);
		if (gvm_set_slot(vm, i, true, 0)) {
			perror("KVM_SET_USER_MEMORY_REGION");
			exit(1);
		}
	}
	memcpy(gvm_hva(vm, GPA_CODE), guest_start, guest_end - guest_start);
	write_descriptors(vm);
	gvm_write_tables(vm);
	gvm_write_nested_tables(vm, 1);
	vm->nr_vcpus = nr_vcpus;
	for (i = 0; i < nr_vcpus; i++)
		vcpu_create(vm, i);
	for (i = 0; i < nr_vcpus; i++)
		gvm_reset_vcpu(&vm->vcpus[i], rng);
	return vm;
}

void gvm_free(struct gvm *vm)
{
	unsigned int i;

	if (!gvm_guards_intact(vm))
		problem("memory that is not the guest's has changed");
	for (i = 0; i < vm->nr_vcpus; i++) {
		munmap(vm->vcpus[i].run, vm->vcpus[i].run_size);
		close(vm->vcpus[i].fd);
	}
	close(vm->fd);
	for (i = 0; i < NR_SLOTS; i++)
		munmap(vm->slots[i].map, 3 * SLOT_SIZE);
	free(vm);
}

/* Has the guest what it needs to run our code? */
bool gvm_intact(struct gvm *vm)
{
	uint64_t *idt = gvm_hva(vm, GPA_IDT), *pml4 = gvm_hva(vm, GPA_PML4);
	uint64_t *pd = pml4 + 1024, *pt = pd + 512;
	uint64_t ignore = PTE_A | PTE_D;
	unsigned int i;

	if (memcmp(gvm_hva(vm, GPA_CODE), guest_start, guest_end - guest_start))
		return false;
	for (i = 0; i < 64; i++)
		if ((pt[i] | ignore) != (low_pte(i) | ignore))
			return false;
	for (i = 1; i <= NR_DATA_SLOTS; i++)
		if ((pd[i] | ignore) != (i * 0x200000ull | PTE_RWX | PTE_PS))
			return false;
	for (i = 0; i < NR_SLOTS; i++)
		if (!vm->slots[i].exists || vm->slots[i].flags)
			return false;
	return (pml4[0] | ignore) == ((GPA_PML4 + 0x1000) | PTE_RWX) &&
	       (pml4[512] | ignore) == ((GPA_PML4 + 0x2000) | PTE_RWX) &&
	       (pd[0] | ignore) == ((GPA_PML4 + 0x3000) | PTE_RWX) &&
	       idt[0] >> 48 == 0;
}

/*
 * A vCPU that was just reset stores to each memslot and loads from there: the
 * memory must have it. Where the guest has overwritten what it needs, nothing
 * can be said.
 */
bool gvm_sane(struct gvcpu *vcpu, uint64_t salt)
{
	struct op_entry *ops = gvm_ops(vcpu, false);
	struct kvm_regs regs = vcpu->regs;
	uint64_t gpas[NR_DATA_SLOTS], value;
	unsigned int i, n = 0, kicks = 0;
	int r;

	if (!gvm_intact(vcpu->vm))
		return true;
	memset(ops, 0, PAGE_SIZE);
	for (i = 0; i < NR_DATA_SLOTS; i++) {
		gpas[i] = GPA_DATA + i * SLOT_SIZE + (salt % 500) * PAGE_SIZE +
			  vcpu->id * 64;
		*(uint64_t *)gvm_hva(vcpu->vm, gpas[i]) = i;
		*(uint64_t *)gvm_hva(vcpu->vm, gpas[i] + 8) = 0;
		ops[n++] = (struct op_entry){ .op = op_xadd, .rsi = gpas[i],
					      .rax = salt };
		ops[n++] = (struct op_entry){ .op = op_movs, .rsi = gpas[i],
					      .rdi = gpas[i] + 8, .rcx = 8 };
	}
	ops[n++] = (struct op_entry){ .op = op_done };
	/* An interrupt would end an operation. */
	regs.rflags = 2;
	ioctl(vcpu->fd, KVM_SET_REGS, &regs);
	do {
		r = gvcpu_run(vcpu, 1000);
	} while (r == RUN_KICKED && kicks++ < 200);
	if (r != RUN_DONE) {
		problem("a vCPU that was reset does not run: %d, exit %u", r,
			vcpu->run->exit_reason);
		return false;
	}
	for (i = 0; i < NR_DATA_SLOTS; i++) {
		value = *(uint64_t *)gvm_hva(vcpu->vm, gpas[i] + 8);
		if (*(uint64_t *)gvm_hva(vcpu->vm, gpas[i]) == salt + i &&
		    value == salt + i)
			continue;
		problem("a vCPU that was reset wrote to another place than %#lx",
			gpas[i]);
		return false;
	}
	return true;
}
