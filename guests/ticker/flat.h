// SPDX-License-Identifier: MIT OR Apache-2.0
//
// flat.h - what the layers of the 64-bit architectures share: all of RAM is reached by its physical address, without
// translation. The memory layout is in flat.ld.

#include <stddef.h>

static uint32_t devices_present;

// No display's memory is used.
static const uint32_t video_page = 0, video_pages = 0;

static inline volatile uint32_t *page_at(uint32_t page) {
    return (volatile uint32_t *)((uint64_t)page * PAGE_SIZE);
}

// The start and end of the data; see flat.ld.
extern char data_begin[], data_end[];

// The page of the routine that the program patches.
extern uint32_t routine[];

static void clear_data(void) {
    for (volatile uint32_t *at = (uint32_t *)data_begin; at < (uint32_t *)data_end; at++) {
        *at = 0;
    }
}

// These machines do not sleep; the runner does not ask for it.
static void suspend_machine(void) {
    for (;;) {
    }
}
