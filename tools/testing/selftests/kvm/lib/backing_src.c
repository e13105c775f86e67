// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the memory of a guest is made of: pages of which kind and size.
 */
#include <unistd.h>
#include <linux/kernel.h>
#include <linux/mman.h>
#include <sys/mman.h>

#include "test_util.h"
#include "backing_src.h"

/*
 * Names, and flags for mmap(). MAP_HUGETLB alone asks for pages of the size
 * that is the system's default.
 */
#define HUGETLB(size)	(MAP_HUGETLB | (int)MAP_HUGE_##size)

static const struct {
	const char *name;
	int flags;
} backing_srcs[] = {
	[VM_MEM_SRC_ANONYMOUS] = { "anonymous", 0 },
	[VM_MEM_SRC_ANONYMOUS_THP] = { "thp", 0 },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB] = { "hugetlb", MAP_HUGETLB },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB_16KB] = { "hugetlb-16kb", HUGETLB(16KB) },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB_64KB] = { "hugetlb-64kb", HUGETLB(64KB) },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB_512KB] = {
		"hugetlb-512kb", HUGETLB(512KB) },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB_1MB] = { "hugetlb-1mb", HUGETLB(1MB) },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB_2MB] = { "hugetlb-2mb", HUGETLB(2MB) },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB_8MB] = { "hugetlb-8mb", HUGETLB(8MB) },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB_16MB] = { "hugetlb-16mb", HUGETLB(16MB) },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB_32MB] = { "hugetlb-32mb", HUGETLB(32MB) },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB_256MB] = {
		"hugetlb-256mb", HUGETLB(256MB) },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB_512MB] = {
		"hugetlb-512mb", HUGETLB(512MB) },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB_1GB] = { "hugetlb-1gb", HUGETLB(1GB) },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB_2GB] = { "hugetlb-2gb", HUGETLB(2GB) },
	[VM_MEM_SRC_ANONYMOUS_HUGETLB_16GB] = { "hugetlb-16gb", HUGETLB(16GB) },
};

_Static_assert(ARRAY_SIZE(backing_srcs) == NUM_SRC_TYPES,
	       "Missing a memory source?");

/**
 * hugetlb_default_size() - the size of a page of hugetlbfs, if none is named
 *
 * Return: bytes, as the system says; 0 if it has no hugetlbfs.
 */
size_t hugetlb_default_size(void)
{
	size_t kib = 0;
	char line[128];
	FILE *file;

	file = fopen("/proc/meminfo", "r");
	TEST_ASSERT(file, "no /proc/meminfo, errno: %i", errno);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Hugepagesize: %zu kB", &kib) == 1)
			break;
	fclose(file);

	return kib << 10;
}

/**
 * backing_src_name() - name a memory source
 * @type: the source
 *
 * Return: the name that backing_src_by_name() takes.
 */
const char *backing_src_name(enum vm_mem_backing_src_type type)
{
	TEST_ASSERT(type < NUM_SRC_TYPES, "no memory source %u", type);

	return backing_srcs[type].name;
}

/**
 * backing_src_by_name() - find a memory source
 * @name: its name
 * @type: where to put it
 *
 * Return: 0, or -EINVAL if there is none of that name.
 */
int backing_src_by_name(const char *name, enum vm_mem_backing_src_type *type)
{
	int i;

	for (i = 0; i < NUM_SRC_TYPES; i++) {
		if (!strcmp(name, backing_srcs[i].name)) {
			*type = i;
			return 0;
		}
	}

	return -EINVAL;
}

/**
 * backing_src_help() - print the names of all memory sources, for a usage
 */
void backing_src_help(void)
{
	int i;

	for (i = 0; i < NUM_SRC_TYPES; i++)
		printf("         %s\n", backing_srcs[i].name);
}

/**
 * backing_src_is_hugetlb() - is it hugetlbfs, whatever the size of its pages?
 * @type: the source
 *
 * Return: true if memory of this kind has to be reserved by the system.
 */
bool backing_src_is_hugetlb(enum vm_mem_backing_src_type type)
{
	return backing_src_mmap_flags(type) & MAP_HUGETLB;
}

/**
 * backing_src_mmap_flags() - how to map memory from a source
 * @type: the source
 *
 * Return: flags for mmap(), beside those that all sources share.
 */
int backing_src_mmap_flags(enum vm_mem_backing_src_type type)
{
	TEST_ASSERT(type < NUM_SRC_TYPES, "no memory source %u", type);

	return backing_srcs[type].flags;
}

/**
 * backing_src_granule() - the size of the pages that a source is made of
 * @type: the source
 *
 * Whether there are such pages to be had is another question. The size of
 * hugetlbfs' pages follows from their name.
 *
 * Return: bytes; 0 if the system does not know this kind of memory.
 */
size_t backing_src_granule(enum vm_mem_backing_src_type type)
{
	unsigned int flags = backing_src_mmap_flags(type);

	switch (type) {
	case VM_MEM_SRC_ANONYMOUS:
		return getpagesize();
	case VM_MEM_SRC_ANONYMOUS_THP:
		return thp_size();
	case VM_MEM_SRC_ANONYMOUS_HUGETLB:
		return hugetlb_default_size();
	default:
		return 1ul << (flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK);
	}
}
