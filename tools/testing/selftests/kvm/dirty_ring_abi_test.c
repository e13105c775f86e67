// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ABI of dirty rings, rule by rule: what is offered, what is refused and
 * with which errno, what may be mapped, what a reset counts, when a vCPU
 * stops, and that nothing that user space writes into a ring does harm.
 */

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "dirty_ring.h"
#include "kvm_trace.h"

#define VCPU_ID			0
#define TEST_SLOT		1
#define TEST_PAGES		2048ul
#define TEST_MEM		0x10000000ul

#define UNLOGGED_SLOT		3
#define UNLOGGED_PAGES		512ul
#define UNLOGGED_MEM		0x20000000ul

/* Of no meaning to KVM on x86, as long as dirty rings leave bitmaps alone. */
#define CAP_SYS_HYPERV_CPUID	191

/* The second address space: a slot around the save area of SMM. */
#define SMM_SLOT		(1u << 16 | 2)
#define SMM_MEM			0x30000ul
#define SMM_SIZE		0x10000ul
#define SMM_ENTRY		0x8000ul
#define SMM_SAVE_PAGE		0xful

#define MAX_BYTES		(65536 * sizeof(struct kvm_dirty_gfn))

#define check(cond, fmt, ...) \
	ksft_test_result(cond, fmt "\n", ##__VA_ARGS__)

/* The call must fail with this errno. */
#define check_errno(call, err, fmt, ...) do {				\
	long __ret = (long)(call);					\
	int __errno = errno;						\
									\
	if (__ret != -1 || __errno != (err))				\
		ksft_print_msg("returned %ld, errno %d\n", __ret,	\
			       __errno);				\
	check(__ret == -1 && __errno == (err), fmt, ##__VA_ARGS__);	\
} while (0)

/* The call must return this value. */
#define check_value(call, value, fmt, ...) do {				\
	long __ret = (long)(call), __value = (long)(value);		\
									\
	if (__ret != __value)						\
		ksft_print_msg("returned %ld, not %ld, errno %d\n",	\
			       __ret, __value, errno);			\
	check(__ret == __value, fmt, ##__VA_ARGS__);			\
} while (0)

static const uint32_t ring_caps[] = {
	KVM_CAP_DIRTY_LOG_RING, KVM_CAP_DIRTY_LOG_RING_ACQ_REL,
};

/*
 * A VM whose guest writes the first pages of a logged slot, in order, and some
 * pages of one that is not logged. Then it tells the host, and begins again.
 */

static void write_pages(uint64_t gva, uint64_t count)
{
	uint64_t *word, i;

	for (i = 0; i < count; i++) {
		word = (void *)(gva + i * 4096);
		WRITE_ONCE(*word, READ_ONCE(*word) + 1);
	}
}

static void guest_code(uint64_t count, uint64_t unlogged)
{
	for (;;) {
		write_pages(TEST_MEM, count);
		write_pages(UNLOGGED_MEM, unlogged);
		GUEST_SYNC(count);
	}
}

static struct kvm_vm *vm;
static struct dirty_ring ring;
static struct kvm_run *run;

static void new_vm(void)
{
	vm = vm_create_with_rings(VM_MODE_DEFAULT, 2 * DEFAULT_GUEST_PHY_PAGES,
				  0);
}

static void enable_ring(uint32_t entries)
{
	vm_enable_dirty_ring(vm, entries * sizeof(struct kvm_dirty_gfn));
}

static void add_memory(void)
{
	vm_add_logged_slot(vm, TEST_SLOT, TEST_MEM, TEST_PAGES);
}

/* @entries is 0 without rings. */
static void add_vcpu(uint64_t count, uint32_t entries)
{
	vcpu_add_with_ring(vm, VCPU_ID, guest_code, &ring, entries);
	vcpu_args_set(vm, VCPU_ID, 2, count, 0ul);
	run = vcpu_state(vm, VCPU_ID);
}

static void new_ring_vm(uint32_t entries, uint64_t count)
{
	new_vm();
	enable_ring(entries);
	add_memory();
	add_vcpu(count, entries);
}

static void free_ring_vm(void)
{
	dirty_ring_unmap(&ring);
	kvm_vm_free(vm);
}

/* Return: whether the guest has written its pages once more. */
static bool run_guest(void)
{
	vcpu_run(vm, VCPU_ID);
	return get_ucall(vm, VCPU_ID, NULL) == UCALL_SYNC;
}

static bool run_is_full(void)
{
	vcpu_run(vm, VCPU_ID);
	return run->exit_reason == KVM_EXIT_DIRTY_RING_FULL;
}

static void ignore(uint32_t slot, uint64_t offset, void *data)
{
}

static uint32_t harvest(uint32_t max)
{
	return dirty_ring_harvest(&ring, max, ignore, NULL);
}

/*
 * The pages that a harvest must find, each once, and those that it has found.
 */
struct expected {
	uint32_t count;
	uint32_t found;
	bool seen[TEST_PAGES];
};

static void note_page(uint32_t slot, uint64_t offset, void *data)
{
	struct expected *expected = data;

	if (slot == TEST_SLOT && offset < expected->count &&
	    !expected->seen[offset]) {
		expected->seen[offset] = true;
		expected->found++;
	} else {
		ksft_print_msg("slot %#x page %#lx comes, or comes again\n", slot,
			       offset);
	}
}

/*
 * Return: whether exactly the first @count pages were reported, in any order:
 * KVM pushes what the CPU has logged (PML) from its end.
 */
static bool harvest_pages(uint32_t count)
{
	struct expected expected = { .count = count };
	uint32_t all;

	all = dirty_ring_harvest(&ring, ring.entries, note_page, &expected);
	if (all != count || expected.found != count)
		ksft_print_msg("%u entries, %u pages, not %u\n", all,
			       expected.found, count);
	return all == count && expected.found == count;
}

/*
 * What is offered, and how it is enabled.
 */

static void check_extensions(const char *name, int fd)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ring_caps); i++)
		check_value(ioctl(fd, KVM_CHECK_EXTENSION, ring_caps[i]),
			    MAX_BYTES, "%s offers capability %u", name,
			    ring_caps[i]);
	check_value(ioctl(fd, KVM_CHECK_EXTENSION, CAP_SYS_HYPERV_CPUID), 0,
		    "%s does not offer capability %u", name,
		    CAP_SYS_HYPERV_CPUID);
}

static void test_offer(void)
{
	int fd = open("/dev/kvm", O_RDWR);

	check_extensions("/dev/kvm", fd);
	close(fd);
	vm = vm_create(VM_MODE_DEFAULT, 0, O_RDWR);
	check_extensions("VM", vm_get_fd(vm));
	kvm_vm_free(vm);
}

static void test_refused_sizes(uint32_t cap)
{
	uint64_t least = dirty_ring_min_entries() *
			 sizeof(struct kvm_dirty_gfn);
	struct kvm_enable_cap flags = {
		.cap = cap, .flags = 1, .args[0] = MAX_BYTES,
	};

	vm = vm_create(VM_MODE_DEFAULT, 0, O_RDWR);
	check_errno(_vm_enable_dirty_ring(vm, cap, 0), EINVAL,
		    "cap %u: no size", cap);
	check_errno(_vm_enable_dirty_ring(vm, cap, 3 * least), EINVAL,
		    "cap %u: no power of two", cap);
	check_errno(_vm_enable_dirty_ring(vm, cap, least + 1), EINVAL,
		    "cap %u: one byte more", cap);
	check_errno(_vm_enable_dirty_ring(vm, cap, getpagesize() / 2), EINVAL,
		    "cap %u: less than a page", cap);
	check_errno(_vm_enable_dirty_ring(vm, cap, least / 2), EINVAL,
		    "cap %u: not more than the reserved entries", cap);
	check_errno(_vm_enable_dirty_ring(vm, cap, 2 * MAX_BYTES), E2BIG,
		    "cap %u: more than 65536 entries", cap);
	check_errno(_vm_enable_dirty_ring(vm, cap, 1ull << 32), E2BIG,
		    "cap %u: size beyond 32 bits", cap);
	check_errno(_vm_enable_dirty_ring(vm, cap, (1ull << 32) + MAX_BYTES),
		    EINVAL, "cap %u: a good size in the lower 32 bits", cap);
	check_errno(ioctl(vm_get_fd(vm), KVM_ENABLE_CAP, &flags), EINVAL,
		    "cap %u: flags", cap);
	check_errno(_vm_reset_dirty_rings(vm), EINVAL,
		    "cap %u: nothing was enabled by that", cap);
	check_value(_vm_enable_dirty_ring(vm, cap, least), 0,
		    "cap %u: the smallest ring", cap);
	kvm_vm_free(vm);
}

static void test_enable_once(uint32_t cap, uint32_t other)
{
	vm = vm_create(VM_MODE_DEFAULT, 0, O_RDWR);
	check_value(_vm_enable_dirty_ring(vm, cap, MAX_BYTES), 0,
		    "cap %u: the largest ring", cap);
	check_errno(_vm_enable_dirty_ring(vm, cap, MAX_BYTES), EINVAL,
		    "cap %u: twice", cap);
	check_errno(_vm_enable_dirty_ring(vm, other, MAX_BYTES), EINVAL,
		    "cap %u: after cap %u", other, cap);
	vm_vcpu_add(vm, VCPU_ID);
	check_errno(_vm_enable_dirty_ring(vm, cap, MAX_BYTES), EINVAL,
		    "cap %u: twice, with a vCPU", cap);
	kvm_vm_free(vm);

	vm = vm_create(VM_MODE_DEFAULT, 0, O_RDWR);
	vm_vcpu_add(vm, VCPU_ID);
	check_errno(_vm_enable_dirty_ring(vm, cap, MAX_BYTES), EINVAL,
		    "cap %u: with a vCPU", cap);
	kvm_vm_free(vm);
}

static void test_enable(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ring_caps); i++) {
		test_refused_sizes(ring_caps[i]);
		test_enable_once(ring_caps[i], ring_caps[!i]);
	}
}

/*
 * Mappings.
 */

static sigjmp_buf bus_error;

static void on_sigbus(int sig)
{
	siglongjmp(bus_error, 1);
}

/* Return: whether the byte is there. */
static bool readable(void *addr)
{
	if (sigsetjmp(bus_error, 1))
		return false;
	READ_ONCE(*(char *)addr);
	return true;
}

static void check_mmap(const char *name, long page, long pages, int prot,
		       int flags, bool allowed)
{
	size_t size = pages * getpagesize();
	void *map = mmap(NULL, size, prot, flags, vcpu_get_fd(vm, VCPU_ID),
			 page * getpagesize());

	if (allowed)
		check(map != MAP_FAILED, "map %s", name);
	else
		check_errno(map, EINVAL, "map %s: refused", name);
	if (map != MAP_FAILED)
		munmap(map, size);
}

/* Beyond the ring there is nothing: the mapping or the access fails. */
static void check_no_page(const char *name, long first, long page)
{
	long pages = page - first + 1;
	void *map = mmap(NULL, pages * getpagesize(), PROT_READ | PROT_WRITE,
			 MAP_SHARED, vcpu_get_fd(vm, VCPU_ID),
			 first * getpagesize());

	check(map == MAP_FAILED ||
	      !readable(map + (pages - 1) * getpagesize()), "%s", name);
	if (map != MAP_FAILED)
		munmap(map, pages * getpagesize());
}

static void check_mprotect(void)
{
	check_errno(mprotect(ring.gfns, getpagesize(), PROT_READ | PROT_EXEC),
		    EACCES, "mprotect to executable: refused");
	check_value(mprotect(ring.gfns, getpagesize(), PROT_READ), 0,
		    "mprotect to read-only");
	check_value(mprotect(ring.gfns, getpagesize(), PROT_READ | PROT_WRITE),
		    0, "mprotect to writable");
}

static void test_mappings(void)
{
	const long first = KVM_DIRTY_LOG_PAGE_OFFSET;
	uint32_t entries = 2 * dirty_ring_min_entries();
	long pages = entries * sizeof(*ring.gfns) / getpagesize();

	new_ring_vm(entries, 5);
	check_mmap("all of it", first, pages, PROT_READ | PROT_WRITE,
		   MAP_SHARED, true);
	check_mmap("read-only", first, pages, PROT_READ, MAP_SHARED, true);
	check_mmap("its last page", first + pages - 1, 1,
		   PROT_READ | PROT_WRITE, MAP_SHARED, true);
	check_mmap("executable", first, pages, PROT_READ | PROT_EXEC,
		   MAP_SHARED, false);
	check_mmap("its last page, executable", first + pages - 1, 1,
		   PROT_READ | PROT_EXEC, MAP_SHARED, false);
	check_mmap("private", first, pages, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE, false);
	check_mmap("private and read-only", first, pages, PROT_READ,
		   MAP_PRIVATE, false);
	check_mmap("private, from below", 0, first + 1, PROT_READ, MAP_PRIVATE,
		   false);
	check_mmap("executable, from below", 0, first + 1,
		   PROT_READ | PROT_EXEC, MAP_SHARED, false);
	check_mmap("kvm_run as ever", 0, 1, PROT_READ | PROT_WRITE, MAP_SHARED,
		   true);
	check_no_page("nothing behind the ring", first, first + pages);
	check_no_page("nothing far behind the ring", first + pages + 1,
		      first + pages + 1);
	check_no_page("nothing before the ring", first - 1, first - 1);
	check_mprotect();
	free_ring_vm();
}

static void test_read_only_mapping(void)
{
	struct kvm_dirty_gfn *map;
	size_t size;

	new_ring_vm(dirty_ring_min_entries(), 5);
	size = ring.entries * sizeof(*map);
	map = _dirty_ring_mmap(vm, VCPU_ID, size, PROT_READ, MAP_SHARED);
	run_guest();
	check(map[4].flags == KVM_DIRTY_GFN_F_DIRTY && map[4].slot == TEST_SLOT &&
	      map[4].offset == 4, "two mappings show the same ring");
	munmap(map, size);
	free_ring_vm();
}

/*
 * Without rings nothing changes, and with rings there are no bitmaps.
 */

static int get_dirty_log(uint32_t slot, void *bitmap)
{
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = bitmap };

	return ioctl(vm_get_fd(vm), KVM_GET_DIRTY_LOG, &log);
}

static int clear_dirty_log(uint32_t slot, void *bitmap)
{
	struct kvm_clear_dirty_log log = {
		.slot = slot, .num_pages = TEST_PAGES, .dirty_bitmap = bitmap,
	};

	return ioctl(vm_get_fd(vm), KVM_CLEAR_DIRTY_LOG, &log);
}

static int enable_manual_protect(uint64_t caps)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args[0] = caps,
	};

	return ioctl(vm_get_fd(vm), KVM_ENABLE_CAP, &cap);
}

static void test_without_rings(void)
{
	unsigned long bitmap[TEST_PAGES / BITS_PER_LONG];

	new_vm();
	enable_manual_protect(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
	add_memory();
	add_vcpu(5, 0);
	check(run_guest(), "without rings, the guest runs");
	check_value(get_dirty_log(TEST_SLOT, bitmap), 0,
		    "without rings, KVM_GET_DIRTY_LOG works");
	check(bitmap[0] == 0x1f, "without rings, the bitmap has the pages");
	check_value(clear_dirty_log(TEST_SLOT, bitmap), 0,
		    "without rings, KVM_CLEAR_DIRTY_LOG works");
	check_errno(get_dirty_log(0, bitmap), ENOENT,
		    "without rings, KVM_GET_DIRTY_LOG of a slot not logged");
	check_errno(_vm_reset_dirty_rings(vm), EINVAL,
		    "without rings, KVM_RESET_DIRTY_RINGS");
	check_no_page("without rings, nothing to map",
		      KVM_DIRTY_LOG_PAGE_OFFSET, KVM_DIRTY_LOG_PAGE_OFFSET);
	kvm_vm_free(vm);
}

static void test_no_bitmaps(void)
{
	unsigned long bitmap[TEST_PAGES / BITS_PER_LONG] = {};

	new_ring_vm(dirty_ring_min_entries(), 5);
	run_guest();
	check_errno(get_dirty_log(TEST_SLOT, bitmap), ENXIO,
		    "with rings, KVM_GET_DIRTY_LOG");
	check_errno(get_dirty_log(0, bitmap), ENXIO,
		    "with rings, KVM_GET_DIRTY_LOG of a slot not logged");
	check_errno(clear_dirty_log(TEST_SLOT, bitmap), ENXIO,
		    "with rings, KVM_CLEAR_DIRTY_LOG");
	free_ring_vm();
}

/*
 * Pages that are initially dirty in a bitmap are not write-protected. With
 * rings, they would never be reported: the flag must be refused, or have no
 * effect.
 */
static void check_initially_set(const char *name, bool ring_first)
{
	const uint64_t caps = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE |
			      KVM_DIRTY_LOG_INITIALLY_SET;
	int i;

	new_vm();
	if (ring_first)
		enable_ring(dirty_ring_min_entries());
	enable_manual_protect(caps);
	if (!ring_first)
		enable_ring(dirty_ring_min_entries());
	add_memory();
	add_vcpu(5, dirty_ring_min_entries());

	/* The pages are writable when logging is switched on. */
	vm_mem_region_set_flags(vm, TEST_SLOT, 0);
	run_guest();
	vm_mem_region_set_flags(vm, TEST_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	for (i = 0; i < 2; i++) {
		run_guest();
		check(harvest_pages(5), "initially set, %s: pages reported, time %d",
		      name, i + 1);
		vm_reset_dirty_rings(vm);
	}
	free_ring_vm();
}

static void test_exclusive(void)
{
	test_without_rings();
	test_no_bitmaps();
	check_initially_set("before the ring", false);
	check_initially_set("after the ring", true);
}

/*
 * Harvest and reset.
 */

static void test_harvest(void)
{
	new_ring_vm(dirty_ring_min_entries(), 5);
	check_value(_vm_reset_dirty_rings(vm), 0, "reset of an empty ring");
	check(run_guest(), "the guest runs");
	check_value(_vm_reset_dirty_rings(vm), 0,
		    "reset with nothing collected");
	check(harvest_pages(5), "pages reported");
	check_value(_vm_reset_dirty_rings(vm), 5, "reset returns the number");
	check(!ring.gfns[0].flags && !ring.gfns[4].flags,
	      "entries are empty after the reset");
	check_value(_vm_reset_dirty_rings(vm), 0, "reset once more");

	run_guest();
	check(harvest_pages(5), "pages reported again");
	check_value(_vm_reset_dirty_rings(vm), 5, "reset again");
	free_ring_vm();
}

static void test_partial_harvest(void)
{
	new_ring_vm(dirty_ring_min_entries(), 5);
	run_guest();
	harvest(2);
	check_value(_vm_reset_dirty_rings(vm), 2, "reset of a part");
	run_guest();
	check_value(harvest(ring.entries), 5, "harvest of the rest, and of two");
	check_value(_vm_reset_dirty_rings(vm), 5, "reset of the rest");

	run_guest();
	ring.gfns[ring.next + 1].flags |= KVM_DIRTY_GFN_F_RESET;
	check_value(_vm_reset_dirty_rings(vm), 0,
		    "no entry is reset before its predecessor");
	ring.gfns[ring.next].flags |= KVM_DIRTY_GFN_F_RESET;
	check_value(_vm_reset_dirty_rings(vm), 2,
		    "the dirty flag may stay when an entry is collected");
	free_ring_vm();
}

/*
 * Full rings.
 */

static void test_full(void)
{
	uint32_t entries = dirty_ring_min_entries();
	uint32_t limit = dirty_ring_soft_limit(entries);
	uint32_t i, count;

	new_ring_vm(entries, limit + 10);
	check(run_is_full(), "exit when the ring is full");
	for (i = 0; i < 3; i++)
		check(run_is_full(), "exit again, time %u", i + 1);
	check(harvest_pages(limit), "full at %u - %u entries", entries, entries - limit);
	check(run_is_full(), "exit after the harvest");
	check_value(_vm_reset_dirty_rings(vm), limit, "reset of a full ring");
	check(run_guest(), "the guest goes on after the reset");

	/* A page whose write did not retire may be reported once more. */
	count = harvest(entries);
	check(count == 10 || count == 11, "the rest is reported");
	check_value(_vm_reset_dirty_rings(vm), count, "reset of the rest");
	free_ring_vm();
}

/* One entry below the soft limit, the vCPU runs on. */
static void test_room(void)
{
	uint32_t entries = dirty_ring_min_entries();
	uint32_t limit = dirty_ring_soft_limit(entries);

	new_ring_vm(entries, limit - 1);
	check(run_guest(), "no exit with one entry less");
	check_value(harvest(entries), limit - 1, "one entry less");
	vm_reset_dirty_rings(vm);
	free_ring_vm();

	new_ring_vm(entries, limit + 1);
	check(run_is_full(), "full once more");
	harvest(1);
	vm_reset_dirty_rings(vm);
	check(run_is_full() && harvest(entries) == limit,
	      "one entry reset makes room for one page");
	free_ring_vm();
}

/*
 * What user space writes into a ring.
 */

static const struct kvm_dirty_gfn forged[] = {
	{ .slot = TEST_SLOT, .offset = 0xffffffffffffffc1 },
	{ .slot = TEST_SLOT, .offset = 0 },
	{ .slot = TEST_SLOT, .offset = ~0ull },
	{ .slot = TEST_SLOT, .offset = TEST_PAGES },
	{ .slot = TEST_SLOT, .offset = 1ull << 63 },
	{ .slot = TEST_SLOT, .offset = 1ull << 52 },
	{ .slot = 0, .offset = 0 },
	{ .slot = 0, .offset = ~0ull },
	{ .slot = TEST_SLOT + 1, .offset = 0 },
	{ .slot = 0x7fff, .offset = 0 },
	{ .slot = 0xffff, .offset = 0 },
	{ .slot = 1 << 16 | TEST_SLOT, .offset = 0 },
	{ .slot = 2 << 16 | TEST_SLOT, .offset = 0 },
	{ .slot = 0xffffffff, .offset = 0xffffffffffffffff },
};

static void test_forged_pages(void)
{
	uint32_t i;

	new_ring_vm(dirty_ring_min_entries(), ARRAY_SIZE(forged));
	run_guest();
	for (i = 0; i < ARRAY_SIZE(forged); i++) {
		ring.gfns[i] = forged[i];
		ring.gfns[i].flags = KVM_DIRTY_GFN_F_RESET;
	}
	check_value(_vm_reset_dirty_rings(vm), ARRAY_SIZE(forged),
		    "forged pages are reset like others");
	ring.next = ARRAY_SIZE(forged);
	run_guest();
	check(harvest_pages(1),
	      "only the page named truly is reported again");
	vm_reset_dirty_rings(vm);
	free_ring_vm();
}

static void test_forged_flags(void)
{
	uint32_t i;

	new_ring_vm(dirty_ring_min_entries(), 5);
	for (i = 0; i < ring.entries; i++)
		ring.gfns[i].flags = KVM_DIRTY_GFN_F_RESET;
	check_value(_vm_reset_dirty_rings(vm), 0,
		    "no reset of what was never pushed");
	run_guest();
	check(harvest_pages(5), "pages reported over forged flags");
	check_value(_vm_reset_dirty_rings(vm), 5,
		    "reset stops where the kernel did");

	run_guest();
	for (i = 0; i < 5; i++)
		ring.gfns[5 + i].flags = 0;
	check_value(_vm_reset_dirty_rings(vm), 0, "no reset of cleared entries");
	for (i = 0; i < 5; i++)
		ring.gfns[5 + i].flags = ~0u;
	check_value(_vm_reset_dirty_rings(vm), 5, "unknown flags are ignored");
	ring.next = 10;
	run_guest();
	check_value(harvest(ring.entries), 5, "pages reported after all that");
	vm_reset_dirty_rings(vm);
	free_ring_vm();
}

/*
 * A reset must not touch SPTEs of a slot that is not logged: its pages stay
 * writable. With PML they do anyway.
 */
static void test_forged_slot(void)
{
	uint32_t i;
	long count;

	new_ring_vm(2048, UNLOGGED_PAGES);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, UNLOGGED_MEM,
				    UNLOGGED_SLOT, UNLOGGED_PAGES, 0);
	virt_map(vm, UNLOGGED_MEM, UNLOGGED_MEM, UNLOGGED_PAGES, 0);
	vcpu_args_set(vm, VCPU_ID, 2, UNLOGGED_PAGES, UNLOGGED_PAGES);
	run_guest();
	check(harvest_pages(UNLOGGED_PAGES), "only logged pages are reported");
	for (i = 0; i < UNLOGGED_PAGES; i++)
		ring.gfns[i].slot = UNLOGGED_SLOT;
	check_value(_vm_reset_dirty_rings(vm), UNLOGGED_PAGES,
		    "pages of an unlogged slot are reset like others");

	count = vm_get_stat(vm, "exits");
	if (count < 0) {
		ksft_test_result_skip("unlogged pages stay writable: no statistics in debugfs\n");
	} else {
		run_guest();
		check(vm_get_stat(vm, "exits") - count < UNLOGGED_PAGES / 2,
		      "unlogged pages stay writable");
	}
	free_ring_vm();
}

/*
 * Slots.
 */

/* SMM saves the CPU's state to the second address space; RSM ends it. */
static void test_second_address_space(void)
{
	static const uint8_t rsm[] = { 0x0f, 0xaa };
	uint32_t count;
	void *mem;

	if (!kvm_check_cap(KVM_CAP_X86_SMM)) {
		ksft_test_result_skip("second address space: no SMM\n");
		return;
	}

	new_ring_vm(dirty_ring_min_entries(), 5);
	mem = map_memory(SMM_SIZE);
	memcpy(mem + SMM_ENTRY, rsm, sizeof(rsm));
	vm_set_slot(vm, SMM_SLOT, KVM_MEM_LOG_DIRTY_PAGES, SMM_MEM, SMM_SIZE,
		    mem);
	vcpu_ioctl(vm, VCPU_ID, KVM_SMI, NULL);
	check(run_guest(), "the guest runs after SMM");
	check(ring.gfns[0].slot == SMM_SLOT &&
	      ring.gfns[0].offset == SMM_SAVE_PAGE,
	      "a page of the second address space is reported");
	count = harvest(ring.entries);
	check_value(_vm_reset_dirty_rings(vm), count,
		    "reset in two address spaces");
	vm_set_slot(vm, SMM_SLOT, KVM_MEM_LOG_DIRTY_PAGES, SMM_MEM, 0, mem);
	munmap(mem, SMM_SIZE);
	free_ring_vm();
}

static void test_slot_deleted(void)
{
	new_ring_vm(dirty_ring_min_entries(), 5);
	run_guest();
	vm_mem_region_delete(vm, TEST_SLOT);
	check_value(harvest(ring.entries), 5, "harvest after a slot's end");
	check_value(_vm_reset_dirty_rings(vm), 5, "reset after a slot's end");
	free_ring_vm();

	new_ring_vm(dirty_ring_min_entries(), 5);
	run_guest();
	harvest(ring.entries);
	vm_mem_region_set_flags(vm, TEST_SLOT, 0);
	check_value(_vm_reset_dirty_rings(vm), 5, "reset when logging is off");
	run_guest();
	check_value(harvest(ring.entries), 0,
		    "nothing is reported when logging is off");
	vm_mem_region_set_flags(vm, TEST_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	run_guest();
	check_value(harvest(ring.entries), 5, "and again when it is back on");
	vm_reset_dirty_rings(vm);
	free_ring_vm();
}

/*
 * vCPUs and file descriptors.
 */

static void test_second_vcpu(void)
{
	struct dirty_ring second;

	new_ring_vm(dirty_ring_min_entries(), 5);
	run_guest();
	vm_vcpu_add_default(vm, VCPU_ID + 1, guest_code);
	dirty_ring_map(&second, vm, VCPU_ID + 1, ring.entries);
	check(!second.gfns[0].flags, "a late vCPU has a ring of its own");
	harvest(ring.entries);
	check_value(_vm_reset_dirty_rings(vm), 5, "reset with a late vCPU");
	dirty_ring_unmap(&second);
	free_ring_vm();
}

static void test_unmapped(void)
{
	new_ring_vm(dirty_ring_min_entries(), 5);
	dirty_ring_unmap(&ring);
	check(run_guest(), "the guest runs with its ring unmapped");
	dirty_ring_map(&ring, vm, VCPU_ID, ring.entries);
	check_value(harvest(ring.entries), 5, "the pages are there afterwards");
	kvm_vm_release(vm);
	check(!readable(ring.gfns) || ring.gfns[0].slot == TEST_SLOT,
	      "a mapping that outlives all fds");
	munmap(ring.gfns, ring.entries * sizeof(*ring.gfns));
}

int main(int argc, char *argv[])
{
	struct sigaction bus = { .sa_handler = on_sigbus };

	setbuf(stdout, NULL);
	ksft_print_header();
	if (!dirty_ring_max_entries())
		ksft_exit_skip("this kernel has no dirty rings\n");
	sigaction(SIGBUS, &bus, NULL);

	test_offer();
	test_enable();
	test_mappings();
	test_read_only_mapping();
	test_exclusive();
	test_harvest();
	test_partial_harvest();
	test_full();
	test_room();
	test_forged_pages();
	test_forged_flags();
	test_forged_slot();
	test_second_address_space();
	test_slot_deleted();
	test_second_vcpu();
	test_unmapped();

	ksft_set_plan(ksft_test_num());
	ksft_exit(!ksft_get_fail_cnt());
}
