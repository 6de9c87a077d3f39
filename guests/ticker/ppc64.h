// SPDX-License-Identifier: MIT OR Apache-2.0
//
// ppc64.h - the layer for big-endian 64-bit PowerPC: QEMU's machine `pseries`, in supervisor state, in real mode. It is
// the machine's firmware: loaded at 0, started at 0x100.

#include "flat.h"

register uint32_t count __asm__("r28");
register uint32_t witness __asm__("r29");

// Enables the floating-point, vector and VSX registers. An exception restarts the machine's program at its vector, where
// there is code of another kind or an endless loop; the ticks then stop.
__asm__(
    ".section .start, \"ax\"\n"
    ".globl start\n"
    "  .fill 64, 4, 0x48000000\n"
    "start:\n"
    "  mfmsr 3\n"
    "  oris 3, 3, 0x200\n"
    "  ori 3, 3, 0x2000\n"
    "  mtmsrd 3\n"
    "  isync\n"
    "  lis 1, stack_top@h\n"
    "  ori 1, 1, stack_top@l\n"
    "  addi 1, 1, -128\n"
    "  lis 12, ticker@h\n"
    "  ori 12, 12, ticker@l\n"
    "  mtctr 12\n"
    "  bctr\n"
    // The vectors of exceptions: each is an endless loop.
    "  .balign 0x100\n"
    "  .fill 0xb80, 4, 0x48000000\n"
    ".text\n");

// A call of the hypervisor, with at most four arguments and at most three results.
static int64_t hypercall(uint64_t number, uint64_t *a, uint64_t *b, uint64_t *c, uint64_t d) {
    register uint64_t r3 __asm__("r3") = number;
    register uint64_t r4 __asm__("r4") = *a;
    register uint64_t r5 __asm__("r5") = *b;
    register uint64_t r6 __asm__("r6") = *c;
    register uint64_t r7 __asm__("r7") = d;
    __asm__ volatile("sc 1" : "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6), "+r"(r7)
                     : : "r0", "r8", "r9", "r10", "r11", "r12", "cr0", "cr1", "cr5", "cr6", "cr7", "ctr", "xer",
                       "memory");
    *a = r4;
    *b = r5;
    *c = r6;
    return r3;
}

// ---------------------------------------------------------------------------
// Console: the virtual terminal, at most 16 bytes in a call.

#define H_GET_TERM_CHAR 0x54
#define H_PUT_TERM_CHAR 0x58
#define H_BUSY 1
#define TERMINAL 0x71000000

static char output[16];
static uint32_t output_length;
static uint64_t input[2];
static uint32_t input_length, input_next;

static uint64_t packed(const char *bytes) {
    uint64_t value = 0;
    for (int at = 0; at < 8; at++) {
        value = value << 8 | (uint8_t)bytes[at];
    }
    return value;
}

static void console_put(char byte) {
    output[output_length++] = byte;
    if (byte != '\n' && output_length < sizeof output) {
        return;
    }
    int64_t result;
    do {
        uint64_t terminal = TERMINAL, length = output_length, first = packed(output);
        result = hypercall(H_PUT_TERM_CHAR, &terminal, &length, &first, packed(output + 8));
    } while (result == H_BUSY);
    output_length = 0;
}

static int console_get(void) {
    if (input_next == input_length) {
        uint64_t length = TERMINAL;
        input_next = 0;
        input_length = 0;
        if (hypercall(H_GET_TERM_CHAR, &length, &input[0], &input[1], 0) || length > 16) {
            return -1;
        }
        input_length = length;
    }
    if (input_next == input_length) {
        return -1;
    }
    uint32_t at = input_next++;
    return input[at / 8] >> (56 - at % 8 * 8) & 0xff;
}

// ---------------------------------------------------------------------------
// RAM.

// lis r3, HIGH; ori r3, r3, LOW; blr
static void write_routine(void) {
    ((volatile uint32_t *)routine)[2] = 0x4e800020;
}

static inline void patch_routine(uint32_t number) {
    volatile uint32_t *code = routine;
    code[0] = 0x3c600000 | number >> 16;
    code[1] = 0x60630000 | (number & 0xffff);
    __asm__ volatile("dcbst 0, %0; sync; icbi 0, %0; sync; isync" : : "r"(code) : "memory");
}

static inline uint32_t run_routine(void) {
    register uint64_t number __asm__("r3");
    __asm__ volatile("mtctr %1; bctrl" : "=r"(number) : "r"(routine) : "ctr", "lr", "memory");
    return number;
}

static inline void forget_translations(void) {
    __asm__ volatile("slbia; isync" : : : "memory");
}

#define H_GET_TCE 0x1c
#define H_PUT_TCE 0x20
#define H_CPPR 0x68
#define H_IPOLL 0x70

// Any call of the hypervisor makes the vCPU exit.
static inline void leave_guest(void) {
    uint64_t a = 0, b = 0, c = 0;
    hypercall(H_IPOLL, &a, &b, &c, 0);
}

// ---------------------------------------------------------------------------
// Time: the time base, of 512 MHz, in units of 1/8 microsecond, and as it is.

#define CLOCKS_PER_2MS 16000

static inline uint64_t cycles_now(void) {
    uint64_t value;
    __asm__ volatile("mfspr %0, 268" : "=r"(value));
    return value;
}

static inline uint32_t clock_now(void) {
    return cycles_now() >> 6;
}

// ---------------------------------------------------------------------------
// Devices.

// The first entry of the first PCI bus's table of DMA translations, without permissions.
#define BUS 0x80000000

static uint32_t tce_read(void) {
    uint64_t bus = BUS, address = 0, none = 0;
    return hypercall(H_GET_TCE, &bus, &address, &none, 0) ? ~0u : (uint32_t)(bus >> 12);
}
static void tce_write(uint32_t value) {
    uint64_t bus = BUS, address = 0, entry = (uint64_t)value << 12;
    hypercall(H_PUT_TCE, &bus, &address, &entry, 0);
}

// The priority of the interrupt controller's presentation to this CPU.
static uint32_t priority_read(void) {
    uint64_t cpu = 0, none = 0, nothing = 0;
    return hypercall(H_IPOLL, &cpu, &none, &nothing, 0) ? ~0u : (uint32_t)(cpu >> 24 & 0xff);
}
static void priority_write(uint32_t value) {
    uint64_t priority = value, none = 0, nothing = 0;
    hypercall(H_CPPR, &priority, &none, &nothing, 0);
}

#define EACH_OF_32(op)                                                                                     \
    op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)  \
    op(16) op(17) op(18) op(19) op(20) op(21) op(22) op(23) op(24) op(25) op(26) op(27) op(28) op(29)      \
    op(30) op(31)

static uint32_t float_read(void) {
    uint32_t values[64];
#define STORE(n) "stfd " #n ", " #n "*8(%0);"
    __asm__ volatile(EACH_OF_32(STORE) : : "b"(values) : "memory");
    return agreed(values, 64);
}
static void float_write(uint32_t value) {
    uint32_t values[64];
    for (int at = 0; at < 64; at++) {
        values[at] = value + at;
    }
#define LOAD(n) "lfd " #n ", " #n "*8(%0);"
    __asm__ volatile(EACH_OF_32(LOAD) : : "b"(values) : "memory");
}

static uint32_t vector_read(void) {
    uint32_t values[128] __attribute__((aligned(16)));
#define STORE_VECTOR(n) "stvx " #n ", 0, 9; addi 9, 9, 16;"
    __asm__ volatile("mr 9, %0;" EACH_OF_32(STORE_VECTOR) : : "b"(values) : "r9", "memory");
    return agreed(values, 128);
}
static void vector_write(uint32_t value) {
    uint32_t values[128] __attribute__((aligned(16)));
    for (int at = 0; at < 128; at++) {
        values[at] = value + at;
    }
#define LOAD_VECTOR(n) "lvx " #n ", 0, 9; addi 9, 9, 16;"
    __asm__ volatile("mr 9, %0;" EACH_OF_32(LOAD_VECTOR) : : "b"(values) : "r9", "memory");
}

// SPRG0 to SPRG3.
static uint32_t sprg_read(void) {
    uint64_t values[4];
    __asm__ volatile("mfsprg %0, 0" : "=r"(values[0]));
    __asm__ volatile("mfsprg %0, 1" : "=r"(values[1]));
    __asm__ volatile("mfsprg %0, 2" : "=r"(values[2]));
    __asm__ volatile("mfsprg %0, 3" : "=r"(values[3]));
    uint32_t low[4] = {values[0], values[1], values[2], values[3]};
    return agreed(low, 4);
}
static void sprg_write(uint32_t value) {
    __asm__ volatile("mtsprg 0, %0" : : "r"((uint64_t)value));
    __asm__ volatile("mtsprg 1, %0" : : "r"((uint64_t)(value + 1)));
    __asm__ volatile("mtsprg 2, %0" : : "r"((uint64_t)(value + 2)));
    __asm__ volatile("mtsprg 3, %0" : : "r"((uint64_t)(value + 3)));
}

// The address of a data exception, and its cause.
static uint32_t fault_read(void) {
    uint64_t address, cause;
    __asm__ volatile("mfspr %0, 19; mfspr %1, 18" : "=r"(address), "=r"(cause));
    uint32_t low[2] = {address, cause};
    return agreed(low, 2);
}
static void fault_write(uint32_t value) {
    __asm__ volatile("mtspr 19, %0; mtspr 18, %1" : : "r"((uint64_t)value), "r"((uint64_t)(value + 1)));
}

// The lines have their numbers: the runner has the names in the same order.
#define FIRST_DEVICE 26
static const struct device devices[] = {
    {tce_read, tce_write, 0xffff},
    {priority_read, priority_write, 0xff},
    {float_read, float_write, 0xffffffff},
    {vector_read, vector_write, 0xffffffff},
    {sprg_read, sprg_write, 0xffffffff},
    {fault_read, fault_write, 0xffffffff},
};
static const uint32_t device_count = sizeof devices / sizeof devices[0];

static void start_machine(void) {
    output_length = 0;
}
