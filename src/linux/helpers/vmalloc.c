// SPDX-License-Identifier: GPL-2.0

#include <linux/gfp.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

/* Fails rather than have programs killed. */
void *rust_helper_vzalloc_huge(size_t size)
{
	return vmalloc_huge(size, GFP_KERNEL | __GFP_ZERO | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
}

/* Without waiting, and without a word if there is none. */
void *rust_helper_kvzalloc_now(size_t size)
{
	return kvzalloc(size, GFP_NOWAIT | __GFP_NOWARN);
}
