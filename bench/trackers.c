// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>

#include "trackers.h"

/* Dirty bitmap: KVM_GET_DIRTY_LOG, then one KVM_CLEAR_DIRTY_LOG of the slot. */

static uint64_t *bitmap;
static uint64_t bitmap_words;

static void bitmap_enable(struct guest *guest)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE,
	};

	vm_must(&guest->vm, VM_IOCTL(&guest->vm, KVM_ENABLE_CAP, &cap));
}

static void bitmap_prepare(uint64_t log_pages)
{
	bitmap_words = (log_pages + 63) / 64;
	free(bitmap);
	bitmap = calloc(bitmap_words, sizeof(*bitmap));
	if (!bitmap)
		vmm_fail("out of memory");
}

static uint32_t bitmap_harvest(struct guest *guest, uint64_t *found)
{
	struct kvm_dirty_log log = {
		.slot = LOG_SLOT,
		.dirty_bitmap = bitmap,
	};
	uint32_t n = 0;
	uint64_t i, word;

	vm_must(&guest->vm, VM_IOCTL(&guest->vm, KVM_GET_DIRTY_LOG, &log));
	for (i = 0; i < bitmap_words; i++) {
		for (word = bitmap[i]; word; word &= word - 1) {
			if (n == MAX_FOUND)
				return n;
			found[n++] = i * 64 + __builtin_ctzll(word);
		}
	}
	return n;
}

static void bitmap_reprotect(struct guest *guest, uint32_t harvested)
{
	struct kvm_clear_dirty_log log = {
		.slot = LOG_SLOT,
		.num_pages = guest->log_pages,
		.dirty_bitmap = bitmap,
	};

	(void)harvested;
	vm_must(&guest->vm, VM_IOCTL(&guest->vm, KVM_CLEAR_DIRTY_LOG, &log));
}

/* Dirty ring: read its entries in order, then KVM_RESET_DIRTY_RINGS. */

struct found {
	uint64_t *pages;
	uint32_t count;
};

static void ring_enable(struct guest *guest)
{
	guest_enable_ring(guest, RING_ENTRIES);
}

static void ring_prepare(uint64_t log_pages)
{
	(void)log_pages;
}

/* A page of another slot becomes none, which check_pages() reports. */
static void note_page(uint32_t slot, uint64_t offset, void *data)
{
	struct found *found = data;

	found->pages[found->count++] = slot == LOG_SLOT ? offset : ~0ULL;
}

static uint32_t ring_harvest(struct guest *guest, uint64_t *pages)
{
	struct found found = { .pages = pages };

	return dirty_ring_harvest(&guest->ring, MAX_FOUND, note_page, &found);
}

static void ring_reprotect(struct guest *guest, uint32_t harvested)
{
	int reset = dirty_rings_reset(guest->vm.fd);

	if (reset < 0 || (uint32_t)reset != harvested)
		vmm_fail("harvested %u entries, but %d were reset", harvested,
			 reset);
}

const struct tracker trackers[TRACKERS] = {
	{
		.name = "bitmap",
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		.enable = bitmap_enable,
		.prepare = bitmap_prepare,
		.harvest = bitmap_harvest,
		.reprotect = bitmap_reprotect,
	}, {
		.name = "ring",
		.cap = KVM_CAP_DIRTY_LOG_RING,
		.enable = ring_enable,
		.prepare = ring_prepare,
		.harvest = ring_harvest,
		.reprotect = ring_reprotect,
	},
};
