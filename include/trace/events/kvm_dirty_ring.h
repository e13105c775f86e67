/* SPDX-License-Identifier: GPL-2.0 */
#if !defined(_TRACE_KVM_DIRTY_RING_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_DIRTY_RING_H

#include <linux/tracepoint.h>

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE kvm_dirty_ring

/* A page went into the ring of the vCPU @index; the indices count it. */
TRACE_EVENT(kvm_dirty_ring_push,
	TP_PROTO(int index, struct kvm_dirty_ring *ring, u32 slot, u64 offset),
	TP_ARGS(index, ring, slot, offset),

	TP_STRUCT__entry(
		__field(int, index)
		__field(u32, dirty_index)
		__field(u32, reset_index)
		__field(u32, slot)
		__field(u64, offset)
	),

	TP_fast_assign(
		__entry->index = index;
		__entry->dirty_index = ring->dirty_index;
		__entry->reset_index = READ_ONCE(ring->reset_index);
		__entry->slot = slot;
		__entry->offset = offset;
	),

	TP_printk("ring %d: dirty 0x%x reset 0x%x slot %u offset 0x%llx (used %u)",
		  __entry->index, __entry->dirty_index, __entry->reset_index,
		  __entry->slot, __entry->offset,
		  __entry->dirty_index - __entry->reset_index)
);

/* The ring of the vCPU @index was reset, as far as it was collected. */
TRACE_EVENT(kvm_dirty_ring_reset,
	TP_PROTO(int index, struct kvm_dirty_ring *ring),
	TP_ARGS(index, ring),

	TP_STRUCT__entry(
		__field(int, index)
		__field(u32, dirty_index)
		__field(u32, reset_index)
	),

	TP_fast_assign(
		__entry->index = index;
		__entry->dirty_index = READ_ONCE(ring->dirty_index);
		__entry->reset_index = ring->reset_index;
	),

	TP_printk("ring %d: dirty 0x%x reset 0x%x (used %u)",
		  __entry->index, __entry->dirty_index, __entry->reset_index,
		  __entry->dirty_index - __entry->reset_index)
);

/* KVM_RUN exits with KVM_EXIT_DIRTY_RING_FULL. */
TRACE_EVENT(kvm_dirty_ring_exit,
	TP_PROTO(int vcpu_id),
	TP_ARGS(vcpu_id),

	TP_STRUCT__entry(
		__field(int, vcpu_id)
	),

	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
	),

	TP_printk("vcpu %d", __entry->vcpu_id)
);

#endif /* _TRACE_KVM_DIRTY_RING_H */

#include <trace/define_trace.h>
