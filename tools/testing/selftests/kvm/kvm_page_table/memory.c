// SPDX-License-Identifier: GPL-2.0
/*
 * kvm_page_table_test: what guest memory is made of, and by which blocks KVM can
 * map it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "backing_src.h"
#include "kvm_trace.h"
#include "page_table.h"

#define HUGETLB_DIR		"/sys/kernel/mm/hugepages/hugepages-%zukB"

#ifdef __x86_64__

/* Return: whether the CPU has leaf entries for 1 GiB. */
static bool have_1g_blocks(void)
{
	return kvm_get_supported_cpuid_entry(0x80000001)->edx & (1 << 26);
}

#define PTE_PRESENT	(1ul << 0)
#define PTE_WRITABLE	(1ul << 1)
#define PTE_LARGE	(1ul << 7)
#define PTE_ADDRESS	0xffffffffff000ul

/* The guest's PDE of a virtual address. */
static uint64_t *guest_pde(uint64_t gva)
{
	uint64_t *table, index;
	struct kvm_sregs sregs;
	int shift;

	vcpu_sregs_get(vm, 0, &sregs);
	table = addr_gpa2hva(vm, sregs.cr3 & PTE_ADDRESS);
	for (shift = 39; ; shift -= 9) {
		index = gva >> shift & 511;
		if (shift == 21)
			return &table[index];
		table = addr_gpa2hva(vm, table[index] & PTE_ADDRESS);
	}
}

/* Give the guest large pages in place of the small ones that it has. */
void use_large_guest_pages(uint64_t gpa)
{
	uint64_t offset;

	for (offset = 0; offset < mem_size; offset += SIZE_2M)
		*guest_pde(GUEST_TEST_MEM + offset) =
			(gpa + offset) | PTE_LARGE | PTE_WRITABLE | PTE_PRESENT;
}

/*
 * The largest block that KVM can use, in bytes. KVM has none
 * where guest physical and host virtual addresses are not aligned alike.
 */
uint64_t block_size(bool large_guest_pages, uint64_t gpa)
{
	uint64_t size = backing_src_granule(src);
	uint64_t skew = gpa ^ (uintptr_t)mem;

	if (size >= SIZE_1G && have_tdp() && have_1g_blocks() &&
	    !(skew & (SIZE_1G - 1)))
		return SIZE_1G;
	if (size >= SIZE_2M && (have_tdp() || large_guest_pages) &&
	    !(skew & (SIZE_2M - 1)))
		return SIZE_2M;
	return page_size;
}

#else

#error "which blocks does this architecture have?"

#endif

/* Return: how many bytes of the memory are transparent huge pages. */
size_t count_thps(void)
{
	uintptr_t start = 0, end = 0, from = (uintptr_t)mem;
	size_t kib, bytes = 0;
	char line[512];
	FILE *file;

	file = fopen("/proc/self/smaps", "r");
	TEST_ASSERT(file, "no /proc/self/smaps, errno: %i", errno);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			continue;
		if (start < from + mem_size && end > from &&
		    sscanf(line, "AnonHugePages: %zu kB", &kib) == 1)
			bytes += kib << 10;
	}
	fclose(file);

	return bytes;
}

/*
 * Pages of hugetlbfs, reserved while the test runs.
 */

static size_t old_reserve;

static void hugetlb_file(char *path, size_t len, const char *name)
{
	snprintf(path, len, HUGETLB_DIR "/%s", backing_src_granule(src) >> 10,
		 name);
}

static size_t read_hugetlb(const char *name)
{
	char path[128];
	size_t value = 0;
	FILE *file;

	hugetlb_file(path, sizeof(path), name);
	file = fopen(path, "r");
	TEST_ASSERT(file && fscanf(file, "%zu", &value) == 1,
		    "no number in %s, errno: %i", path, errno);
	fclose(file);

	return value;
}

/* The system reserves as many as it can. */
static void set_reserve(size_t pages)
{
	char path[128];
	FILE *file;

	hugetlb_file(path, sizeof(path), "nr_hugepages");
	file = fopen(path, "w");
	if (!file)
		return;
	fprintf(file, "%zu\n", pages);
	fclose(file);
}

static void restore_reserve(void)
{
	set_reserve(old_reserve);
}

/* Return: whether there are pages enough. */
static bool reserve_hugetlb(void)
{
	size_t need = mem_size / backing_src_granule(src), free_pages;
	char path[128];

	hugetlb_file(path, sizeof(path), "nr_hugepages");
	if (access(path, F_OK)) {
		print_skip("no pages of %zu KiB in this system",
			   backing_src_granule(src) >> 10);
		return false;
	}

	free_pages = read_hugetlb("free_hugepages");
	if (free_pages < need) {
		old_reserve = read_hugetlb("nr_hugepages");
		atexit(restore_reserve);
		set_reserve(old_reserve + need - free_pages);
		free_pages = read_hugetlb("free_hugepages");
	}
	if (free_pages < need) {
		print_skip("%zu pages of %zu KiB can be had, not %zu",
			   free_pages, backing_src_granule(src) >> 10, need);
		return false;
	}

	return true;
}

bool have_memory(void)
{
	size_t granule = backing_src_granule(src);

	if (!granule) {
		print_skip("no %s memory in this system", backing_src_name(src));
		return false;
	}
	mem_size = roundup(mem_size, max(granule, SIZE_2M));

	return !backing_src_is_hugetlb(src) || reserve_hugetlb();
}
