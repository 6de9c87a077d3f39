// SPDX-License-Identifier: MIT OR Apache-2.0
//
// machine.h - the interface of the ticker's body to an architecture.

#ifndef MACHINE_H
#define MACHINE_H

#include <stdint.h>

#define PAGE_SIZE 4096
#define MAX_EXTENTS 192

// Bits of `flags`.
#define SELF_PATCHING 1
#define SUSPEND 2
#define EXITS 4
#define EMULATED 8
#define CLEARS 16

// `pages` pages of RAM from number `page` on (address / 4096). `kind`: 0 live, 1 still, 2 witness.
struct extent {
    uint32_t page;
    uint32_t pages;
    uint32_t kind;
};

// The parameters, which the runner sets in its copy of the image.
struct parameters {
    char magic[8];
    uint32_t every;     // passes for each `tick` line; at least 1
    uint32_t draw;      // selects the word of each page that is checked besides the first and the last
    uint32_t flags;
    uint32_t extent_count;
    struct extent extents[MAX_EXTENTS];
};
extern const volatile struct parameters parameters;

// A register of a device that keeps the value written to it. `mask` has the bits that are used.
struct device {
    uint32_t (*read)(void);
    void (*write)(uint32_t value);
    uint32_t mask;
};

// The registers of a set must be equal, but for their number: returns their value if they are, else the first one that
// differs.
static uint32_t agreed(const uint32_t *values, int count_of) {
    for (int at = 1; at < count_of; at++) {
        if (values[at] - at != values[0]) {
            return values[at] - at;
        }
    }
    return values[0];
}

#if defined(__i386__)
#include "x86.h"
#elif defined(__aarch64__)
#include "aarch64.h"
#elif defined(__s390x__)
#include "s390x.h"
#elif defined(__powerpc64__)
#include "ppc64.h"
#else
#error "there is no layer for this architecture"
#endif

#endif
