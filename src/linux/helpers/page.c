// SPDX-License-Identifier: GPL-2.0

#include <linux/kconfig.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/net.h>

/* Constants that bindgen does not see, as the wrappers spell them. */
static_assert(IS_ENABLED(CONFIG_64BIT));
static_assert(PAGE_SIZE == 4096);

void *rust_helper_page_address(const struct page *page)
{
	return page_address(page);
}

/* Takes a reference for a frame, unless the network may not refer to such a page. */
bool rust_helper_get_page_to_send(struct page *page)
{
	if (!sendpage_ok(page))
		return false;
	get_page(page);
	return true;
}

void rust_helper_get_page(struct page *page)
{
	get_page(page);
}

void rust_helper_put_page(struct page *page)
{
	put_page(page);
}
