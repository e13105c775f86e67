// SPDX-License-Identifier: GPL-2.0-only
/*
 * state_file_test: a vCPU and its memory, to a file and back.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/kernel.h>

#include "state_file.h"
#include "../lib/kvm_util_internal.h"

#define MAGIC		"kvmstate"
#define PAGE		4096ul

struct file_header {
	char magic[8];
	uint64_t size;		/* of struct saved_vcpu */
};

struct page_header {
	uint32_t slot;
	uint32_t page;
};

static void get(struct kvm_vm *vm, unsigned long request, const char *name,
		void *arg)
{
	int r = _vcpu_ioctl(vm, VCPU_ID, request, arg);

	TEST_ASSERT(r >= 0, "%s: %s", name, strerror(errno));
}

#define GET(vm, what, arg) get(vm, KVM_GET_##what, "KVM_GET_" #what, arg)

static bool get_msr(struct kvm_vm *vm, struct kvm_msr_entry *entry)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msr = { .head.nmsrs = 1, .entry = *entry };

	if (_vcpu_ioctl(vm, VCPU_ID, KVM_GET_MSRS, &msr) != 1)
		return false;
	*entry = msr.entry;
	return true;
}

static bool set_msr(struct kvm_vm *vm, const struct kvm_msr_entry *entry)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msr = { .head.nmsrs = 1, .entry = *entry };

	return _vcpu_ioctl(vm, VCPU_ID, KVM_SET_MSRS, &msr) == 1;
}

/* All MSRs of KVM's list that it has for this vCPU. */
static void save_msrs(struct kvm_vm *vm, struct saved_vcpu *s)
{
	struct kvm_msr_list *list = kvm_get_msr_index_list();
	unsigned int i;

	for (i = 0; i < list->nmsrs; i++) {
		struct kvm_msr_entry *entry = &s->msrs[s->nr_msrs];

		TEST_ASSERT(s->nr_msrs < MAX_MSRS, "more than %d MSRs",
			    MAX_MSRS);
		entry->index = list->indices[i];
		s->nr_msrs += get_msr(vm, entry);
	}
	free(list);
}

/**
 * save_vcpu - read all state of a vCPU
 * @vm: its VM; KVM_RUN's last exit is complete
 * @s: filled with it, but for the transcript
 */
void save_vcpu(struct kvm_vm *vm, struct saved_vcpu *s)
{
	struct kvm_cpuid2 *cpuid = kvm_get_supported_cpuid();

	memset(s, 0, sizeof(*s));
	TEST_ASSERT(cpuid->nent <= MAX_CPUID, "%u entries of CPUID",
		    cpuid->nent);
	memcpy(&s->cpuid, cpuid, sizeof(*cpuid) +
	       cpuid->nent * sizeof(cpuid->entries[0]));

	GET(vm, VCPU_EVENTS, &s->events);
	GET(vm, MP_STATE, &s->mp_state);
	GET(vm, REGS, &s->regs);
	GET(vm, XSAVE, &s->xsave);
	GET(vm, XCRS, &s->xcrs);
	GET(vm, SREGS, &s->sregs);
	GET(vm, DEBUGREGS, &s->debugregs);
	GET(vm, LAPIC, &s->lapic);
	s->nested.size = sizeof(s->nested_space);
	GET(vm, NESTED_STATE, &s->nested);
	save_msrs(vm, s);
}

/**
 * drop_refused_msrs - keep of a vCPU's MSRs only those that KVM takes back
 * @fresh: a VM of the same kind, whose vCPU never ran
 * @s: the vCPU's state
 *
 * KVM's list has MSRs that it never sets.
 */
void drop_refused_msrs(struct kvm_vm *fresh, struct saved_vcpu *s)
{
	unsigned int i, kept = 0;

	for (i = 0; i < s->nr_msrs; i++) {
		if (set_msr(fresh, &s->msrs[i]))
			s->msrs[kept++] = s->msrs[i];
	}
	s->nr_msrs = kept;
}

static const char *load_msrs(struct kvm_vm *vm, const struct saved_vcpu *s)
{
	static char error[64];
	unsigned int i;

	for (i = 0; i < s->nr_msrs; i++) {
		if (set_msr(vm, &s->msrs[i]))
			continue;
		snprintf(error, sizeof(error),
			 "KVM_SET_MSRS refuses %#llx in MSR %#x",
			 s->msrs[i].data, s->msrs[i].index);
		return error;
	}
	return NULL;
}

#define SET(vm, what, arg)						\
	do {								\
		if (_vcpu_ioctl(vm, VCPU_ID, KVM_SET_##what, arg) < 0) {\
			snprintf(error, sizeof(error), "KVM_SET_%s: %s",\
				 #what, strerror(errno));		\
			return error;					\
		}							\
	} while (0)

/**
 * load_vcpu - give a vCPU that never ran the state of another
 * @vm: its VM
 * @s: the state
 *
 * The nested state comes last: it must fit to SMM, which the events bring.
 *
 * Return: NULL, or what KVM refused.
 */
const char *load_vcpu(struct kvm_vm *vm, struct saved_vcpu *s)
{
	static char error[64];
	const char *refused;

	SET(vm, CPUID2, &s->cpuid);
	SET(vm, SREGS, &s->sregs);
	SET(vm, REGS, &s->regs);
	SET(vm, XSAVE, &s->xsave);
	SET(vm, XCRS, &s->xcrs);
	refused = load_msrs(vm, s);
	if (refused)
		return refused;
	SET(vm, VCPU_EVENTS, &s->events);
	SET(vm, MP_STATE, &s->mp_state);
	SET(vm, DEBUGREGS, &s->debugregs);
	SET(vm, LAPIC, &s->lapic);
	SET(vm, NESTED_STATE, &s->nested);
	return NULL;
}

static void put(FILE *f, const void *data, size_t size)
{
	TEST_ASSERT(fwrite(data, size, 1, f) == 1, "cannot write: %s",
		    strerror(errno));
}

/**
 * write_file - write a saved vCPU, and all pages that its VM has changed
 * @path: the file
 * @vm: the VM
 * @fresh: the same VM before it ran
 * @s: the vCPU's state
 */
void write_file(const char *path, struct kvm_vm *vm, struct kvm_vm *fresh,
		const struct saved_vcpu *s)
{
	struct file_header head = { .magic = MAGIC, .size = sizeof(*s) };
	struct userspace_mem_region *region, *old;
	FILE *f = fopen(path, "w");
	uint64_t page;

	TEST_ASSERT(f, "cannot make %s: %s", path, strerror(errno));
	put(f, &head, sizeof(head));
	put(f, s, sizeof(*s));
	list_for_each_entry(region, &vm->userspace_mem_regions, list) {
		old = memslot2region(fresh, region->region.slot);
		for (page = 0; page * PAGE < region->region.memory_size; page++) {
			struct page_header at = { region->region.slot, page };
			char *data = (char *)region->host_mem + page * PAGE;

			if (!memcmp(data, (char *)old->host_mem + page * PAGE,
				    PAGE))
				continue;
			put(f, &at, sizeof(at));
			put(f, data, PAGE);
		}
	}
	TEST_ASSERT(!fclose(f), "cannot write %s: %s", path, strerror(errno));
}

/**
 * rewrite_vcpu - replace the vCPU's state in a file, and keep the memory
 * @path: the file
 * @s: the new state
 */
void rewrite_vcpu(const char *path, const struct saved_vcpu *s)
{
	FILE *f = fopen(path, "r+");

	TEST_ASSERT(f && !fseek(f, sizeof(struct file_header), SEEK_SET),
		    "cannot open %s: %s", path, strerror(errno));
	put(f, s, sizeof(*s));
	TEST_ASSERT(!fclose(f), "cannot write %s: %s", path, strerror(errno));
}

/**
 * read_file - read what write_file() has written
 * @path: the file
 * @vm: the same VM before it runs; its memory becomes that of the file
 * @s: becomes the vCPU's state
 */
void read_file(const char *path, struct kvm_vm *vm, struct saved_vcpu *s)
{
	FILE *f = fopen(path, "r");
	struct file_header head;
	struct page_header at;

	TEST_ASSERT(f, "cannot open %s: %s", path, strerror(errno));
	TEST_ASSERT(fread(&head, sizeof(head), 1, f) == 1 &&
		    !memcmp(head.magic, MAGIC, sizeof(head.magic)) &&
		    head.size == sizeof(*s) && fread(s, sizeof(*s), 1, f) == 1,
		    "%s is no file of this program", path);
	while (fread(&at, sizeof(at), 1, f) == 1) {
		struct userspace_mem_region *region =
			memslot2region(vm, at.slot);

		TEST_ASSERT(at.page * PAGE < region->region.memory_size,
			    "%s: page %u of memslot %u", path, at.page, at.slot);
		TEST_ASSERT(fread((char *)region->host_mem + at.page * PAGE,
				  PAGE, 1, f) == 1, "%s is too short", path);
	}
	fclose(f);
}
