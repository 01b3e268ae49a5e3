// SPDX-License-Identifier: GPL-2.0

#include <linux/blk-mq.h>
#include <linux/blkdev.h>

/* Constants that bindgen does not see, as the wrappers spell them. */
static_assert((__force u8)BLK_STS_NOTSUPP == 1);
static_assert((__force u8)BLK_STS_TIMEOUT == 2);
static_assert((__force u8)BLK_STS_NOSPC == 3);
static_assert((__force u8)BLK_STS_TRANSPORT == 4);
static_assert((__force u8)BLK_STS_MEDIUM == 7);
static_assert((__force u8)BLK_STS_RESOURCE == 9);
static_assert((__force u8)BLK_STS_IOERR == 10);
static_assert((__force u8)BLK_STS_DEV_RESOURCE == 13);
static_assert((__force u8)BLK_STS_INVAL == 19);
static_assert((__force u32)BLK_FEAT_STABLE_WRITES == 1u << 5);
static_assert((__force u32)BLK_OPEN_WRITE == 1u << 1);
