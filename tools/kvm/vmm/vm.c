// SPDX-License-Identifier: GPL-2.0-only
/*
 * The machine: the VM, its memory, and the table of handlers.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

/* Four pages, where QEMU has them, too. */
#define IDENTITY_MAP	0xfffbc000ul
#define TSS_ADDR	0xfffbd000ul

static int open_kvm(struct vm *vm)
{
	int version;

	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return error_text(vm->error, -errno, "/dev/kvm");

	version = ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return error_text(vm->error, -ENOTSUP, "KVM's API version %d",
				  version);
	return 0;
}

static int create(struct vm *vm)
{
	int ret = open_kvm(vm);

	if (ret)
		return ret;

	ret = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (ret < 0)
		return error_text(vm->error, -errno, "KVM_GET_VCPU_MMAP_SIZE");
	vm->run_size = ret;

	vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		return error_text(vm->error, -errno, "KVM_CREATE_VM");
	return 0;
}

int vm_create(struct vm *vm)
{
	int ret;

	memset(vm, 0, sizeof(*vm));
	vm->fd = -1;
	ret = create(vm);
	if (ret)
		vm_destroy(vm);
	return ret;
}

void vm_destroy(struct vm *vm)
{
	const struct vm_memory *m;

	for (m = vm->memory; m < vm->memory + vm->nr_memory; m++)
		munmap(m->hva, m->size);
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
}

int vm_ioctl(struct vm *vm, unsigned long request, unsigned long arg,
	     const char *name)
{
	int ret = ioctl(vm->fd, request, arg);

	return ret < 0 ? error_text(vm->error, -errno, "%s", name) : ret;
}

int vm_set_rmode_pages(struct vm *vm)
{
	uint64_t identity_map = IDENTITY_MAP;
	int ret = VM_IOCTL(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);

	return ret < 0 ? ret : VM_IOCTL(vm, KVM_SET_TSS_ADDR, TSS_ADDR);
}

int vm_add_memory(struct vm *vm, uint32_t slot, uint32_t flags, uint64_t gpa,
		  uint64_t size, uint8_t **hva)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
	};
	void *p;

	if (vm->nr_memory == VM_MAX_MEMORY)
		return error_text(vm->error, -ENOSPC, "memslot %u", slot);

	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return error_text(vm->error, -errno, "mmap of %#llx bytes",
				  (unsigned long long)size);

	region.userspace_addr = (unsigned long)p;
	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0) {
		int ret = -errno;

		munmap(p, size);
		return error_text(vm->error, ret,
				  "KVM_SET_USER_MEMORY_REGION of slot %u",
				  slot);
	}

	vm->memory[vm->nr_memory++] = (struct vm_memory) {
		.gpa = gpa,
		.size = size,
		.hva = p,
	};
	if (hva)
		*hva = p;
	return 0;
}

void *vm_hva(const struct vm *vm, uint64_t gpa, uint64_t size)
{
	const struct vm_memory *m;

	for (m = vm->memory; m < vm->memory + vm->nr_memory; m++)
		if (gpa >= m->gpa && gpa - m->gpa < m->size &&
		    size <= m->size - (gpa - m->gpa))
			return m->hva + (gpa - m->gpa);
	return NULL;
}

static bool overlap(const struct vm_handler *a, const struct vm_handler *b)
{
	if (a->space != b->space)
		return false;
	/* Size 0 is what is left over, and has one handler. */
	if (!a->size || !b->size)
		return !a->size && !b->size;
	return a->first <= b->first + (b->size - 1) &&
	       b->first <= a->first + (a->size - 1);
}

static bool fits(const struct vm_handler *h)
{
	static const uint64_t last[] = {
		[VM_PORT] = UINT16_MAX,
		[VM_MMIO] = UINT64_MAX,
		[VM_EXIT] = UINT32_MAX,
	};
	uint64_t max = last[h->space];

	return !h->size || (h->first <= max && h->size - 1 <= max - h->first);
}

static int refuse(const struct vm *vm, const struct vm_handler *new)
{
	const struct vm_handler *h;

	if (!fits(new))
		return -EINVAL;
	for (h = vm->handlers; h < vm->handlers + vm->nr_handlers; h++)
		if (overlap(new, h))
			return -EEXIST;
	return vm->nr_handlers == VM_MAX_HANDLERS ? -ENOSPC : 0;
}

int vm_handle(struct vm *vm, enum vm_space space, uint64_t first,
	      uint64_t size, vm_handler_fn fn, void *opaque)
{
	struct vm_handler new = { space, first, size, fn, opaque };
	int error = refuse(vm, &new);

	if (error)
		return error_text(vm->error, error,
				  "handler of %#llx addresses from %#llx",
				  (unsigned long long)size,
				  (unsigned long long)first);
	vm->handlers[vm->nr_handlers++] = new;
	return 0;
}
