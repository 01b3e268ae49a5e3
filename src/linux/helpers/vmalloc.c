// SPDX-License-Identifier: GPL-2.0

#include <linux/slab.h>
#include <linux/vmalloc.h>

void *rust_helper_vmalloc_huge(size_t size, gfp_t flags)
{
	return vmalloc_huge(size, flags);
}

void *rust_helper_kvzalloc(size_t size, gfp_t flags)
{
	return kvzalloc(size, flags);
}
