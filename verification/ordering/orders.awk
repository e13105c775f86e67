# SPDX-License-Identifier: GPL-2.0
# The orders of the kernel's accesses to a dirty ring, as its source has them, in
# the words of ring.cc. Fails if an access is not where it is looked for.

function order(name, text) {
	if (text ~ /smp_store_release\(/)
		kind[name] = "release"
	else if (text ~ /smp_load_acquire\(/)
		kind[name] = "acquire"
	else
		kind[name] = "relaxed"
}

/^[a-z].*\(/ && !/;/ { in_function = $0 }

/[>&]entry->flags, KVM_DIRTY_GFN_F_DIRTY\)|WRITE_ONCE\(entry->flags, KVM/ {
	order("KERNEL_DIRTY", $0); flags = NR
}
/\(&?ring->dirty_index, index \+ 1\)/ { order("KERNEL_INDEX", $0); first = NR }
/entry->slot, slot_id\)/ { slot = NR }
/entry->offset, offset\)/ { offset = NR }
/entry->flags\) & KVM_DIRTY_GFN_F_RESET/ { order("KERNEL_RESET", $0) }
/pushed = / { order("KERNEL_PUSHED", $0) }
/return ring->dirty_index - / { order("KERNEL_ROOM", $0) }
# Twice: the weaker one counts.
/\(&?ring->reset_index, index\)/ && kind["KERNEL_FREE"] != "relaxed" {
	order("KERNEL_FREE", $0)
}
in_function ~ /reported_recently/ && /smp_mb\(\)/ { mb = 1 }
in_function ~ /batch_apply/ && /smp_mb__after_spinlock\(\)/ { reset_mb = 1 }
in_function ~ /reported_recently/ && /READ_ONCE\(ring_entry/ { looks = 1 }

END {
	n = split("DIRTY INDEX RESET PUSHED ROOM FREE", names, " ")
	for (i = 1; i <= n; i++) {
		name = "KERNEL_" names[i]
		if (!(name in kind)) {
			print "no access for " name >"/dev/stderr"
			exit 1
		}
		print name "=" kind[name]
	}
	if (!looks || slot > flags || offset > flags || !slot || !offset) {
		print "the push is not understood" >"/dev/stderr"
		exit 1
	}
	print "KERNEL_INDEX_FIRST=" (first < flags ? "seq_cst" : "relaxed")
	print "KERNEL_MB=" (mb ? "seq_cst" : "relaxed")
	print "RESET_MB=" (reset_mb ? "seq_cst" : "relaxed")
}
