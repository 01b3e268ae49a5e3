// SPDX-License-Identifier: GPL-2.0

#include <linux/dmi.h>

const char *rust_helper_dmi_product_uuid(void)
{
	return dmi_get_system_info(DMI_PRODUCT_UUID);
}
