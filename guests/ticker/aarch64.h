// SPDX-License-Identifier: MIT OR Apache-2.0
//
// aarch64.h - the layer for 64-bit Arm: QEMU's machine `virt`, at EL1 (or EL2), with the MMU off.

#include "flat.h"

register uint32_t count __asm__("x27");
register uint32_t witness __asm__("x28");

// Interrupts are masked after a reset. SIMD registers are enabled, at EL1 and at EL2.
__asm__(
    ".section .start, \"ax\"\n"
    ".globl start\n"
    "start:\n"
    "  mrs x0, CurrentEL\n"
    "  cmp x0, #8\n"
    "  b.ne 1f\n"
    "  mov x0, #0x33ff\n"
    "  msr cptr_el2, x0\n"
    "1: mov x0, #(3 << 20)\n"
    "  msr cpacr_el1, x0\n"
    "  isb\n"
    "  ldr x0, =stack_top\n"
    "  mov sp, x0\n"
    "  b ticker\n"
    "  .ltorg\n"
    ".text\n");

static inline volatile uint32_t *mmio(uint64_t address) {
    return (volatile uint32_t *)address;
}

// ---------------------------------------------------------------------------
// Console: the PL011, polled, with its FIFOs on.

#define UART 0x09000000u
#define UART_DATA (UART + 0x00)
#define UART_FLAGS (UART + 0x18)
#define UART_BAUD (UART + 0x24)
#define UART_LINE (UART + 0x2c)
#define UART_CONTROL (UART + 0x30)
#define UART_MASK (UART + 0x38)

static void start_console(void) {
    *mmio(UART_CONTROL) = 0;
    *mmio(UART_MASK) = 0;
    *mmio(UART_LINE) = 0x70;
    *mmio(UART_CONTROL) = 0x301;
}

static void console_put(char byte) {
    while (*mmio(UART_FLAGS) & 0x20) {
    }
    *mmio(UART_DATA) = (uint8_t)byte;
}

static int console_get(void) {
    return *mmio(UART_FLAGS) & 0x10 ? -1 : (int)(*mmio(UART_DATA) & 0xff);
}

// ---------------------------------------------------------------------------
// RAM.

// movz w0, #LOW; movk w0, #HIGH, lsl #16; ret
static void write_routine(void) {
    ((volatile uint32_t *)routine)[2] = 0xd65f03c0;
}

static inline void patch_routine(uint32_t number) {
    volatile uint32_t *code = routine;
    code[0] = 0x52800000 | (number & 0xffff) << 5;
    code[1] = 0x72a00000 | (number >> 16) << 5;
    __asm__ volatile("dc cvau, %0; dsb ish; ic ivau, %0; dsb ish; isb" : : "r"(code) : "memory");
}

static inline uint32_t run_routine(void) {
    register uint64_t number __asm__("x0");
    __asm__ volatile("blr %1" : "=r"(number) : "r"(routine) : "x30", "memory");
    return number;
}

static inline void forget_translations(void) {
    __asm__ volatile("dsb ish; tlbi vmalle1; dsb ish; isb" : : : "memory");
}

// Access to a device makes the vCPU exit.
static inline void leave_guest(void) {
    (void)*mmio(UART_FLAGS);
}

// ---------------------------------------------------------------------------
// Time: the virtual counter, in units of at most 8 MHz, and the physical counter.

static uint32_t clock_shift, clocks_per_2ms;
#define CLOCKS_PER_2MS clocks_per_2ms

static void start_clock(void) {
    uint64_t rate;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(rate));
    for (clock_shift = 0; rate > 8000000; clock_shift++) {
        rate >>= 1;
    }
    clocks_per_2ms = (uint32_t)rate / 500;
}

static inline uint32_t clock_now(void) {
    uint64_t value;
    __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(value));
    return value >> clock_shift;
}

static inline uint64_t cycles_now(void) {
    uint64_t value;
    __asm__ volatile("isb; mrs %0, cntpct_el0" : "=r"(value));
    return value;
}

// ---------------------------------------------------------------------------
// Devices.

static uint32_t baud_read(void) { return *mmio(UART_BAUD); }
static void baud_write(uint32_t value) { *mmio(UART_BAUD) = value; }

// The match register of the PL031, whose interrupt is masked.
static uint32_t rtc_read(void) { return *mmio(0x09010004); }
static void rtc_write(uint32_t value) { *mmio(0x09010004) = value; }

// The direction of the PL061's pins.
static uint32_t gpio_read(void) { return *mmio(0x09030400); }
static void gpio_write(uint32_t value) { *mmio(0x09030400) = value; }

// The priorities of four interrupts without a source, in the distributor.
static uint32_t gic_read(void) { return *mmio(0x08000400 + 220); }
static void gic_write(uint32_t value) { *mmio(0x08000400 + 220) = value; }

static uint32_t simd_read(void) {
    uint32_t values[128];
    __asm__ volatile(
        "mov x9, %0;"
        "st1 {v0.4s, v1.4s, v2.4s, v3.4s}, [x9], #64; st1 {v4.4s, v5.4s, v6.4s, v7.4s}, [x9], #64;"
        "st1 {v8.4s, v9.4s, v10.4s, v11.4s}, [x9], #64; st1 {v12.4s, v13.4s, v14.4s, v15.4s}, [x9], #64;"
        "st1 {v16.4s, v17.4s, v18.4s, v19.4s}, [x9], #64; st1 {v20.4s, v21.4s, v22.4s, v23.4s}, [x9], #64;"
        "st1 {v24.4s, v25.4s, v26.4s, v27.4s}, [x9], #64; st1 {v28.4s, v29.4s, v30.4s, v31.4s}, [x9], #64"
        : : "r"(values) : "x9", "memory");
    return agreed(values, 128);
}
static void simd_write(uint32_t value) {
    uint32_t values[128];
    for (int at = 0; at < 128; at++) {
        values[at] = value + at;
    }
    __asm__ volatile(
        "mov x9, %0;"
        "ld1 {v0.4s, v1.4s, v2.4s, v3.4s}, [x9], #64; ld1 {v4.4s, v5.4s, v6.4s, v7.4s}, [x9], #64;"
        "ld1 {v8.4s, v9.4s, v10.4s, v11.4s}, [x9], #64; ld1 {v12.4s, v13.4s, v14.4s, v15.4s}, [x9], #64;"
        "ld1 {v16.4s, v17.4s, v18.4s, v19.4s}, [x9], #64; ld1 {v20.4s, v21.4s, v22.4s, v23.4s}, [x9], #64;"
        "ld1 {v24.4s, v25.4s, v26.4s, v27.4s}, [x9], #64; ld1 {v28.4s, v29.4s, v30.4s, v31.4s}, [x9], #64"
        : : "r"(values) : "x9", "memory");
}

// The compare value of the physical timer, which is off.
static uint32_t timer_read(void) {
    uint64_t value;
    __asm__ volatile("mrs %0, cntp_cval_el0" : "=r"(value));
    return value;
}
static void timer_write(uint32_t value) { __asm__ volatile("msr cntp_cval_el0, %0" : : "r"((uint64_t)value)); }

// Registers that only an operating system uses.
static uint32_t system_read(void) {
    uint64_t values[4];
    __asm__ volatile("mrs %0, tpidr_el0" : "=r"(values[0]));
    __asm__ volatile("mrs %0, tpidr_el1" : "=r"(values[1]));
    __asm__ volatile("mrs %0, tpidrro_el0" : "=r"(values[2]));
    __asm__ volatile("mrs %0, far_el1" : "=r"(values[3]));
    uint32_t low[4] = {values[0], values[1], values[2], values[3]};
    return agreed(low, 4);
}
static void system_write(uint32_t value) {
    __asm__ volatile("msr tpidr_el0, %0" : : "r"((uint64_t)value));
    __asm__ volatile("msr tpidr_el1, %0" : : "r"((uint64_t)(value + 1)));
    __asm__ volatile("msr tpidrro_el0, %0" : : "r"((uint64_t)(value + 2)));
    __asm__ volatile("msr far_el1, %0" : : "r"((uint64_t)(value + 3)));
}

// The lines have their numbers: the runner has the names in the same order.
#define FIRST_DEVICE 13
static const struct device devices[] = {
    {baud_read, baud_write, 0xffff},
    {rtc_read, rtc_write, 0xffffffff},
    {gpio_read, gpio_write, 0xff},
    {gic_read, gic_write, 0xf0f0f0f0},
    {simd_read, simd_write, 0xffffffff},
    {timer_read, timer_write, 0xffffffff},
    {system_read, system_write, 0xffffffff},
};
static const uint32_t device_count = sizeof devices / sizeof devices[0];

static void start_machine(void) {
    start_console();
    start_clock();
}
