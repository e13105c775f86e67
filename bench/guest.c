// SPDX-License-Identifier: GPL-2.0
#include <string.h>
#include <sys/mman.h>

#include "guest.h"

/* The unlogged low slot, mapped 1:1: code, list of pages, page tables. */
#define LOW_SLOT	0
#define LOW_SIZE	(1UL << 20)
#define LOW_CODE	0x1000UL
#define LOW_LIST	0x10000UL
#define LOW_TABLES	0x40000UL

#define GIB		(1UL << GIB_SHIFT)

/*
 * The guest. In: rbx = list, rdx = its length, rdi = number of the pass. A
 * halt leaves to user space, as there is no interrupt controller in the kernel.
 */
asm("	.section .rodata\n"
	"guest_code:\n"
	"	mov %rbx, %rsi\n"
	"	mov %rdx, %rcx\n"
	"1:	mov (%rsi), %rax\n"
	"	add $8, %rsi\n"
	"	mov %rdi, (%rax)\n"
	"	dec %rcx\n"
	"	jnz 1b\n"
	"	inc %rdi\n"
	"	hlt\n"
	"	jmp guest_code\n"
	"guest_code_end:\n"
	".previous\n");

bool guest_offers(int cap)
{
	struct guest guest;
	int ret;

	guest_open(&guest);
	ret = vm_must(&guest.vm, VM_IOCTL(&guest.vm, KVM_CHECK_EXTENSION, cap));
	vm_destroy(&guest.vm);
	return ret > 0;
}

void guest_open(struct guest *guest)
{
	memset(guest, 0, sizeof(*guest));
	if (vm_create(&guest->vm))
		vmm_skip("%s", guest->vm.error);
}

void guest_enable_ring(struct guest *guest, uint32_t entries)
{
	int ret = dirty_rings_enable(guest->vm.fd, entries);

	if (ret)
		vmm_fail("no dirty ring of %u entries: %s", entries,
			 strerror(-ret));
	guest->ring_entries = entries;
}

/* Memory of the guest, in 4 KiB pages. */
static uint8_t *add_slot(struct guest *guest, uint32_t slot, uint32_t flags,
			 uint64_t gpa, uint64_t size)
{
	uint8_t *hva;

	vm_must(&guest->vm, vm_add_memory(&guest->vm, slot, flags, gpa, size,
					  &hva));
	/* Fails on a kernel without huge pages, where it is not needed. */
	madvise(hva, size, MADV_NOHUGEPAGE);
	return hva;
}

static void build_list(uint64_t *gpa, const uint32_t *list, uint32_t count)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		gpa[i] = LOG_GPA + ((uint64_t)list[i] << PAGE_SHIFT);
}

static void add_memory(struct guest *guest, const uint32_t *list,
		       uint32_t count)
{
	struct page_tables tables = {
		.vm = &guest->vm,
		.gpa = LOW_TABLES,
		.size = LOW_SIZE - LOW_TABLES,
	};
	uint64_t size = guest->log_pages << PAGE_SHIFT;
	uint8_t *low = add_slot(guest, LOW_SLOT, 0, 0, LOW_SIZE);

	guest->log = add_slot(guest, LOG_SLOT, KVM_MEM_LOG_DIRTY_PAGES, LOG_GPA,
			      size);
	memcpy(low + LOW_CODE, guest_code, guest_code_end - guest_code);
	build_list((uint64_t *)(low + LOW_LIST), list, count);
	/* Whole GiB: a table each, full. */
	vm_must(&guest->vm, page_tables_map(&tables, 0, GIB));
	vm_must(&guest->vm, page_tables_map(&tables, LOG_GPA,
					    (size + GIB - 1) & ~(GIB - 1)));
}

/* Touch each page of it now, so that no round pays for that. */
static void map_ring(struct guest *guest)
{
	int ret = dirty_ring_attach(&guest->ring, guest->vcpu.fd,
				    guest->ring_entries);
	uint32_t i;

	if (ret)
		vmm_fail("mmap of the dirty ring: %s", strerror(-ret));
	for (i = 0; i < guest->ring_entries; i++)
		__atomic_load_n(&guest->ring.gfns[i].flags, __ATOMIC_RELAXED);
}

void guest_start(struct guest *guest, uint64_t log_pages,
		 const uint32_t *list, uint32_t count)
{
	struct vcpu *vcpu = &guest->vcpu;
	struct kvm_regs regs = {
		.rip = LOW_CODE,
		.rflags = 2,
		.rbx = LOW_LIST,
		.rdx = count,
		.rdi = 1,
	};

	guest->log_pages = log_pages;
	add_memory(guest, list, count);

	vcpu_must(vcpu, vcpu_create(vcpu, &guest->vm, 0));
	if (guest->ring_entries)
		map_ring(guest);
	vcpu_must(vcpu, vcpu_set_long_mode(vcpu, LOW_TABLES));
	vcpu_must(vcpu, VCPU_IOCTL(vcpu, KVM_SET_REGS, &regs));
}

uint32_t guest_run(struct guest *guest)
{
	vcpu_must(&guest->vcpu, vcpu_enter(&guest->vcpu));
	if (guest->vcpu.run->exit_reason == KVM_EXIT_HLT)
		guest->passes++;
	return guest->vcpu.run->exit_reason;
}

uint64_t guest_word(const struct guest *guest, uint64_t page)
{
	return *(uint64_t *)(guest->log + (page << PAGE_SHIFT));
}

void guest_close(struct guest *guest)
{
	if (guest->ring_entries)
		dirty_ring_detach(&guest->ring);
	vcpu_destroy(&guest->vcpu);
	vm_destroy(&guest->vm);
}
