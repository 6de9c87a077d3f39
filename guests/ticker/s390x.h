// SPDX-License-Identifier: MIT OR Apache-2.0
//
// s390x.h - the layer for z/Architecture: QEMU's machine `s390-ccw-virtio`, in supervisor state, without dynamic address
// translation.

#include "flat.h"

register uint32_t count __asm__("r9");
register uint32_t witness __asm__("r10");

// Interrupts are disabled. A program interruption loads a disabled wait, which QEMU reports as a panic (the new PSW is at
// 0x1d0). Bit 45 of CR0 enables the floating-point registers.
__asm__(
    ".section .start, \"ax\"\n"
    ".globl start\n"
    "start:\n"
    "  larl %r1, 1f\n"
    "  mvc 0x1d0(16, %r0), 0(%r1)\n"
    "  lctlg %c0, %c0, 16(%r1)\n"
    "  lg %r15, 24(%r1)\n"
    "  jg ticker\n"
    "  .balign 8\n"
    "1: .quad 0x0002000180000000, 0x7bad, 0x40000, stack_top - 160\n"
    ".text\n");

// ---------------------------------------------------------------------------
// Console: the ASCII console of the service-call facility (SCLP). A line is sent as one event.

#define SCLP_READ 0x00770005
#define SCLP_WRITE 0x00760005
#define SCLP_MASK 0x00780005
#define ASCII_CONSOLE 0x1a
#define NORMAL 0x0020
#define LINE_SIZE 240

// A control block: its header, and the header of the only event.
struct block {
    uint16_t length;
    uint8_t function;
    uint8_t control[3];
    uint16_t response;
    union {
        struct {
            uint16_t length;
            uint8_t type;
            uint8_t flags;
            uint16_t reserved;
            char data[4082];
        } event;
        struct {
            uint16_t reserved;
            uint16_t size;
            uint32_t can_receive, can_send, receives, sends;
        } masks;
    };
} __attribute__((packed, aligned(8)));

static struct block block __attribute__((aligned(4096)));
static char line[LINE_SIZE];
static uint32_t line_length, heard_length, heard_next;
static char heard_data[64];

static int service_call(uint32_t command) {
    uint64_t condition;
    do {
        __asm__ volatile(".insn rre, 0xb2200000, %1, %2\n ipm %0\n srl %0, 28"
                         : "=d"(condition) : "d"((uint64_t)command), "d"(&block) : "cc", "memory");
    } while ((uint32_t)condition == 2);
    return block.response == NORMAL || block.response == 0x0220;
}

static void clear_block(uint32_t length) {
    for (volatile uint32_t *at = (uint32_t *)&block; at < (uint32_t *)(&block + 1); at++) {
        *at = 0;
    }
    block.length = length;
}

static void start_console(void) {
    line_length = 0;
    clear_block(28);
    block.masks.size = 4;
    block.masks.can_receive = 1u << (32 - ASCII_CONSOLE);
    block.masks.can_send = 1u << (32 - ASCII_CONSOLE);
    service_call(SCLP_MASK);
}

static void console_put(char byte) {
    line[line_length++] = byte;
    if (byte != '\n' && line_length < LINE_SIZE) {
        return;
    }
    block.length = 14 + line_length;
    block.function = 0;
    block.response = 0;
    block.event.length = 6 + line_length;
    block.event.type = ASCII_CONSOLE;
    block.event.flags = 0;
    block.event.reserved = 0;
    for (uint32_t at = 0; at < line_length; at++) {
        ((volatile char *)block.event.data)[at] = line[at];
    }
    service_call(SCLP_WRITE);
    line_length = 0;
}

static int console_get(void) {
    if (heard_next == heard_length) {
        clear_block(PAGE_SIZE);
        heard_next = 0;
        heard_length = 0;
        if (!service_call(SCLP_READ) || block.event.type != ASCII_CONSOLE || block.event.length < 6) {
            return -1;
        }
        heard_length = block.event.length - 6;
        // The runner sends less.
        if (heard_length > sizeof heard_data) {
            heard_length = sizeof heard_data;
        }
        for (uint32_t at = 0; at < heard_length; at++) {
            ((volatile char *)heard_data)[at] = block.event.data[at];
        }
    }
    return heard_next < heard_length ? (uint8_t)heard_data[heard_next++] : -1;
}

// ---------------------------------------------------------------------------
// RAM.

// iilf %r2, NUMBER; br %r14. The number is at offset 4.
static void write_routine(void) {
    volatile uint32_t *code = routine;
    code[0] = 0x0700c029;
    code[2] = 0x07fe0000;
}

static inline void patch_routine(uint32_t number) {
    *(volatile uint32_t *)(routine + 1) = number;
}

static inline uint32_t run_routine(void) {
    register uint64_t number __asm__("r2");
    __asm__ volatile("basr %%r14, %1" : "=d"(number) : "a"((char *)routine + 2) : "r14", "memory");
    return number;
}

static inline void forget_translations(void) {
    __asm__ volatile("ptlb" : : : "memory");
}

// A diagnose that ends the time slice.
static inline void leave_guest(void) {
    __asm__ volatile("diag 0, 0, 0x44" : : : "memory");
}

// ---------------------------------------------------------------------------
// Time: the TOD clock, in units of 1/8 microsecond, and the CPU timer, which counts down.

#define CLOCKS_PER_2MS 16000

static void start_clock(void) {
    uint64_t most = 1ull << 61;
    __asm__ volatile("spt %0" : : "Q"(most));
}

static inline uint32_t clock_now(void) {
    uint64_t value;
    __asm__ volatile("stck %0" : "=Q"(value) : : "cc");
    return value >> 9;
}

static inline uint64_t cycles_now(void) {
    uint64_t value;
    __asm__ volatile("stpt %0" : "=Q"(value));
    return (1ull << 61) - value;
}

// ---------------------------------------------------------------------------
// Devices.

// The storage keys of the routine's page: all bits but "referenced" and "changed".
static uint32_t key_read(void) {
    uint64_t key;
    __asm__ volatile("iske %0, %1" : "=d"(key) : "a"(routine));
    return key >> 3 & 0x1f;
}
static void key_write(uint32_t value) {
    __asm__ volatile("sske %0, %1" : : "d"((uint64_t)value << 3), "a"(routine));
}

// The clock comparator, whose interruption is disabled.
static uint32_t comparator_read(void) {
    uint64_t value;
    __asm__ volatile("stckc %0" : "=Q"(value));
    return value >> 24;
}
static void comparator_write(uint32_t value) {
    uint64_t wide = 0xff00000000000000 | (uint64_t)value << 24;
    __asm__ volatile("sckc %0" : : "Q"(wide));
}

#define EACH_OF_16(op)                                                                                     \
    op "0, 0(%0);" op "1, 8(%0);" op "2, 16(%0);" op "3, 24(%0);" op "4, 32(%0);" op "5, 40(%0);"          \
    op "6, 48(%0);" op "7, 56(%0);" op "8, 64(%0);" op "9, 72(%0);" op "10, 80(%0);" op "11, 88(%0);"      \
    op "12, 96(%0);" op "13, 104(%0);" op "14, 112(%0);" op "15, 120(%0)"

static uint32_t float_read(void) {
    uint32_t values[32] __attribute__((aligned(8)));
    __asm__ volatile(EACH_OF_16("std %%f") : : "a"(values) : "memory");
    return agreed(values, 32);
}
static void float_write(uint32_t value) {
    uint32_t values[32] __attribute__((aligned(8)));
    for (int at = 0; at < 32; at++) {
        values[at] = value + at;
    }
    __asm__ volatile(EACH_OF_16("ld %%f") : : "a"(values) : "memory");
}

static uint32_t access_read(void) {
    uint32_t values[16];
    __asm__ volatile("stam %%a0, %%a15, 0(%0)" : : "a"(values) : "memory");
    return agreed(values, 16);
}
static void access_write(uint32_t value) {
    uint32_t values[16];
    for (int at = 0; at < 16; at++) {
        values[at] = value + at;
    }
    __asm__ volatile("lam %%a0, %%a15, 0(%0)" : : "a"(values) : "memory");
}

// Control registers 3 to 5, which have no effect here.
static uint32_t control_read(void) {
    uint32_t values[6] __attribute__((aligned(8)));
    __asm__ volatile("stctg %%c3, %%c5, 0(%0)" : : "a"(values) : "memory");
    return agreed(values, 6);
}
static void control_write(uint32_t value) {
    uint32_t values[6] __attribute__((aligned(8)));
    for (int at = 0; at < 6; at++) {
        values[at] = value + at;
    }
    __asm__ volatile("lctlg %%c3, %%c5, 0(%0)" : : "a"(values) : "memory");
}

// The programmable field of the TOD clock: the last two bytes of what STCKE stores.
static uint32_t programmable_read(void) {
    uint16_t values[8];
    __asm__ volatile("stcke 0(%0)" : : "a"(values) : "cc", "memory");
    return values[7];
}
static void programmable_write(uint32_t value) {
    __asm__ volatile("lgr %%r0, %0; sckpf" : : "d"((uint64_t)value) : "r0");
}

// The lines have their numbers: the runner has the names in the same order.
#define FIRST_DEVICE 20
static const struct device devices[] = {
    {key_read, key_write, 0x1f},
    {comparator_read, comparator_write, 0xffffffff},
    {float_read, float_write, 0xffffffff},
    {access_read, access_write, 0xffffffff},
    {control_read, control_write, 0xffffffff},
    {programmable_read, programmable_write, 0xffff},
};
static const uint32_t device_count = sizeof devices / sizeof devices[0];

static void start_machine(void) {
    start_console();
    start_clock();
}
