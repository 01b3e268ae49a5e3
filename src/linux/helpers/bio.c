// SPDX-License-Identifier: GPL-2.0

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/sched/mm.h>

/* I/O that frees memory may use the emergency reserve, as that of the swap layer itself does. */
void rust_helper_submit_bio_from_reserve(struct bio *bio)
{
	unsigned int flags = memalloc_noreclaim_save();

	submit_bio(bio);
	memalloc_noreclaim_restore(flags);
}
