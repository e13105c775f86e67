/* SPDX-License-Identifier: GPL-2.0 */
/* As much of the kernel as arch/x86/kvm/mmu/spte.c needs, for user space. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef uint64_t u64;
typedef uint32_t u32;
typedef uint8_t u8;
typedef u64 gfn_t, gpa_t, gva_t, hpa_t, kvm_pfn_t;
typedef struct { int counter; } atomic_t;
struct list_head { struct list_head *next, *prev; };
struct hlist_node { struct hlist_node *next, **pprev; };
struct kvm_rmap_head { unsigned long val; };
struct page;
struct kvm;
struct kvm_memory_slot;
struct kvm_mmu_memory_cache;
struct kmem_cache;
union kvm_mmu_page_role { u32 word; struct { unsigned int ad_disabled:1; }; };
struct kvm_mmu { int unused; };
struct kvm_memslots { u64 generation; };
struct kvm_vcpu {
	struct kvm_memslots slots;
	struct { struct kvm_mmu *mmu, root_mmu, guest_mmu; } arch;
};

#define CONFIG_X86_64 1
#define __read_mostly
#define likely(x) (x)
#define unlikely(x) (x)
#define EXPORT_SYMBOL_GPL(x) extern int unused_##x
#define module_param(name, type, perm) extern int unused_##name
#define DECLARE_BITMAP(name, n) unsigned long name[(n) / 64]
#define BIT(n) (1ul << (n))
#define BIT_ULL(n) (1ull << (n))
#define GENMASK_ULL(h, l) ((~0ull << (l)) & (~0ull >> (63 - (h))))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ul
#define PG_LEVEL_4K 1
#define BUILD_BUG_ON(x) static_assert(!(x), #x)

/* What the kernel warns of, the test counts. */
extern int warnings;
#define WARN_ON(x) ({ bool is = !!(x); warnings += is; is; })
#define WARN_ON_ONCE(x) WARN_ON(x)
#define WARN_ONCE(x, ...) WARN_ON(x)
#define lockdep_assert_held(x)

#define X86_BUG_L1TF 0
#define E820_TYPE_RAM 1
extern struct cpu {
	u8 x86_phys_bits, x86_cache_bits;
	u32 extended_cpuid_level;
} boot_cpu_data;
extern bool cpu_has_l1tf, tdp_enabled;
extern u64 sme_me_mask;
#define boot_cpu_has_bug(x) cpu_has_l1tf
#define cpuid_eax(x) ((u32)boot_cpu_data.x86_phys_bits)

extern struct { u32 hw_dirty_log_size; u64 (*get_mt_mask)(struct kvm_vcpu *vcpu,
	gfn_t gfn, bool is_mmio); } kvm_x86_ops;
#define kvm_vcpu_memslots(vcpu) (&(vcpu)->slots)
#define pfn_valid(pfn) true
#define pfn_to_page(pfn) ((struct page *)NULL)
#define is_zero_pfn(pfn) false
#define PageReserved(page) false
#define pat_enabled() true
#define pat_pfn_immune_to_uc_mtrr(pfn) true
#define e820__mapped_raw_any(start, end, type) true
#define pfn_to_hpa(pfn) ((pfn) << PAGE_SHIFT)
#define page_private(page) 0ul
#define __pa(x) ((u64)(unsigned long)(x))
#define pgprintk(...)
#define VMX_EPT_READABLE_MASK 1ull
#define VMX_EPT_WRITABLE_MASK 2ull
#define VMX_EPT_EXECUTABLE_MASK 4ull
#define VMX_EPT_RWX_MASK 7ull
#define VMX_EPT_MISCONFIG_WX_VALUE 6ull
#define VMX_EPT_ACCESS_BIT BIT_ULL(8)
#define VMX_EPT_DIRTY_BIT BIT_ULL(9)
