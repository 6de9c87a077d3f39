// SPDX-License-Identifier: MIT OR Apache-2.0
//
// x86.h - the layer for x86, in 32-bit protected mode: PCs with QEMU's i440FX or Q35 chipset; on other
// machines fewer devices.

#include <stddef.h>

// The number of completed passes, and the runner's number. They are in registers only; RAM has values computed from
// them.
register uint32_t count __asm__("ebp");
register uint32_t witness __asm__("ebx");

// The routine that the program patches, and the window to RAM above 4 GiB with its page tables.
#define ROUTINE 0x38000
#define TABLES 0x3a000
#define WINDOW 0xdfe00000u
#define WINDOW_PAGES 512

// The address at which video memory is mapped.
#define VIDEO 0xe0000000u

static uint32_t devices_present, video_page, video_pages;

static inline void outb(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void outw(uint16_t port, uint16_t value) {
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void outl(uint16_t port, uint32_t value) {
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t inl(uint16_t port) {
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline volatile uint32_t *mmio(uint32_t address) {
    return (volatile uint32_t *)address;
}

// ---------------------------------------------------------------------------
// Console: COM1, 115200 8N1, polled, with its FIFOs on.

#define COM1 0x3f8

static void start_console(void) {
    outb(COM1 + 3, 0x83);
    outb(COM1 + 0, 1);
    outb(COM1 + 1, 0);
    outb(COM1 + 3, 0x03);
    outb(COM1 + 1, 0);
    outb(COM1 + 2, 0x07);
    outb(COM1 + 4, 0x03);
}

// Without a UART the status reads as all ones, so nothing waits.
static void console_put(char byte) {
    while (!(inb(COM1 + 5) & 0x20)) {
    }
    outb(COM1, byte);
}

static int console_get(void) {
    uint8_t status = inb(COM1 + 5);
    return status != 0xff && (status & 1) ? inb(COM1) : -1;
}

// ---------------------------------------------------------------------------
// RAM.

static uint32_t window_base;

// Page tables with 2 MiB pages: the identity except for the window. Created on first use.
static void start_paging(void) {
    uint64_t *directories = (uint64_t *)(TABLES + PAGE_SIZE);
    uint64_t *top = (uint64_t *)TABLES;
    for (uint32_t at = 0; at < 2048; at++) {
        directories[at] = (uint64_t)at << 21 | 0x83;
    }
    for (uint32_t at = 0; at < 4; at++) {
        top[at] = (uint32_t)(directories + at * 512) | 1;
    }
    __asm__ volatile(
        "movl %%cr4, %%eax; orl $0x30, %%eax; movl %%eax, %%cr4; movl %0, %%cr3;"
        "movl %%cr0, %%eax; orl $0x80000000, %%eax; movl %%eax, %%cr0"
        : : "r"(top) : "eax", "memory");
}

static volatile uint32_t *page_in_window(uint32_t page) {
    uint32_t base = page / WINDOW_PAGES * WINDOW_PAGES;
    if (!window_base) {
        start_paging();
    }
    if (window_base != base) {
        uint64_t *directories = (uint64_t *)(TABLES + PAGE_SIZE);
        directories[WINDOW >> 21] = (uint64_t)base << 12 | 0x83;
        __asm__ volatile("invlpg (%0)" : : "r"(WINDOW) : "memory");
        window_base = base;
    }
    return mmio(WINDOW + (page - base) * PAGE_SIZE);
}

static inline volatile uint32_t *page_at(uint32_t page) {
    return page < 0x100000 ? mmio(page * PAGE_SIZE) : page_in_window(page);
}

// The start and end of the data; see x86.ld.
extern char data_begin[], data_end[];

static void clear_data(void) {
    for (uint32_t *at = (uint32_t *)data_begin; at < (uint32_t *)data_end; at++) {
        *at = 0;
    }
}

// movl $NUMBER, %eax; ret. The number is at offset 1.
static void write_routine(void) {
    mmio(ROUTINE)[0] = 0xb8;
    mmio(ROUTINE)[1] = 0xc300;
}

static inline void patch_routine(uint32_t number) {
    *mmio(ROUTINE + 1) = number;
}

static inline uint32_t run_routine(void) {
    uint32_t number;
    __asm__ volatile("call *%1" : "=a"(number) : "r"(ROUTINE) : "memory");
    return number;
}

// Changing the bit WP of CR0 has no other effect, since nothing is mapped read-only.
static inline void forget_translations(void) {
    __asm__ volatile("movl %%cr0, %%eax; xorl $0x10000, %%eax; movl %%eax, %%cr0" : : : "eax", "memory");
}

// The port of the POST codes, which nothing reads: the write makes the vCPU exit.
static inline void leave_guest(void) {
    outb(0x80, 0);
}

// ---------------------------------------------------------------------------
// Time: the local APIC's timer at 1 GHz / 128, and the time stamp counter.

#define CLOCKS_PER_2MS 15625
#define APIC 0xfee00000u
#define APIC_TPR (APIC + 0x80)
#define APIC_SVR (APIC + 0xf0)
#define APIC_LVT_TIMER (APIC + 0x320)
#define APIC_TIMER_INITIAL (APIC + 0x380)
#define APIC_TIMER_CURRENT (APIC + 0x390)
#define APIC_TIMER_DIVIDE (APIC + 0x3e0)
#define DEVICE_APIC 4

static void start_clock(void) {
    *mmio(APIC_SVR) = 0x1ff;
    *mmio(APIC_TIMER_DIVIDE) = 0xa;
    // Periodic, masked: a counter that wraps.
    *mmio(APIC_LVT_TIMER) = 0x30000;
    *mmio(APIC_TIMER_INITIAL) = 0xffffffff;
}

static inline uint32_t clock_now(void) {
    return devices_present & 1 << DEVICE_APIC ? 0xffffffff - *mmio(APIC_TIMER_CURRENT) : 0;
}

static inline uint64_t cycles_now(void) {
    uint64_t cycles;
    __asm__ volatile("rdtsc" : "=A"(cycles));
    return cycles;
}

// ---------------------------------------------------------------------------
// Devices.

static uint32_t cpu_features;
static uint32_t pci_function, pci_bar, pci_bar_mask, pci_master;

static uint32_t uart_read(void) { return inb(COM1 + 7); }
static void uart_write(uint32_t value) { outb(COM1 + 7, value); }

// A byte that neither the clock nor any firmware uses.
static uint32_t cmos_read(void) {
    outb(0x70, 0x5e);
    return inb(0x71);
}
static void cmos_write(uint32_t value) {
    outb(0x70, 0x5e);
    outb(0x71, value);
}

// The mode of counter 2, which drives the speaker, from the read-back command.
static uint32_t pit_read(void) {
    outb(0x43, 0xe8);
    return inb(0x42) >> 1 & 3;
}
static void pit_write(uint32_t value) { outb(0x43, 0xb0 | value << 1); }

// The interrupt masks of both controllers.
static uint32_t pic_read(void) { return inb(0x21) | (uint32_t)inb(0xa1) << 8; }
static void pic_write(uint32_t value) {
    outb(0x21, value);
    outb(0xa1, value >> 8);
}

static uint32_t apic_read(void) { return *mmio(APIC_TPR); }
static void apic_write(uint32_t value) { *mmio(APIC_TPR) = value; }

// The HPET's main counter, which is stopped while the HPET is off.
static uint32_t hpet_read(void) { return *mmio(0xfed000f0); }
static void hpet_write(uint32_t value) { *mmio(0xfed000f0) = value; }

static uint32_t pci_get(uint32_t function, uint32_t offset) {
    outl(0xcf8, 0x80000000 | function << 8 | offset);
    return inl(0xcfc);
}
static void pci_set(uint32_t function, uint32_t offset, uint32_t value) {
    outl(0xcf8, 0x80000000 | function << 8 | offset);
    outl(0xcfc, value);
}

// A base address of a device whose memory and ports are disabled.
static uint32_t bar_read(void) {
    uint32_t value = pci_get(pci_function, pci_bar);
    return (value & pci_bar_mask) >> 16;
}
static void bar_write(uint32_t value) { pci_set(pci_function, pci_bar, value << 16); }

// Bits of its command register that have no effect here: SERR and interrupt disable.
static uint32_t command_read(void) {
    uint32_t value = pci_get(pci_function, 4);
    return (value >> 8 & 1) | (value >> 9 & 2);
}
static void command_write(uint32_t value) {
    pci_set(pci_function, 4, pci_master | (value & 1) << 8 | (value & 2) << 9);
}

#define HAS_MMX (cpu_features >> 23 & 1)
#define HAS_SSE2 (cpu_features >> 26 & 1)
#define HAS_SYSENTER (cpu_features >> 11 & 1)

// The registers of the FPU, as MMX sees them: 64 bits each.
static uint32_t fpu_read(void) {
    uint32_t values[16];
    if (!HAS_MMX) {
        return ~0u;
    }
    __asm__ volatile(
        "movq %%mm0, (%0); movq %%mm1, 8(%0); movq %%mm2, 16(%0); movq %%mm3, 24(%0);"
        "movq %%mm4, 32(%0); movq %%mm5, 40(%0); movq %%mm6, 48(%0); movq %%mm7, 56(%0)"
        : : "r"(values) : "memory");
    return agreed(values, 16);
}
static void fpu_write(uint32_t value) {
    uint32_t values[16];
    if (!HAS_MMX) {
        return;
    }
    for (int at = 0; at < 16; at++) {
        values[at] = value + at;
    }
    __asm__ volatile(
        "movq (%0), %%mm0; movq 8(%0), %%mm1; movq 16(%0), %%mm2; movq 24(%0), %%mm3;"
        "movq 32(%0), %%mm4; movq 40(%0), %%mm5; movq 48(%0), %%mm6; movq 56(%0), %%mm7"
        : : "r"(values) : "memory");
}

static uint32_t sse_read(void) {
    uint32_t values[32];
    if (!HAS_SSE2) {
        return ~0u;
    }
    __asm__ volatile(
        "movdqu %%xmm0, (%0); movdqu %%xmm1, 16(%0); movdqu %%xmm2, 32(%0); movdqu %%xmm3, 48(%0);"
        "movdqu %%xmm4, 64(%0); movdqu %%xmm5, 80(%0); movdqu %%xmm6, 96(%0); movdqu %%xmm7, 112(%0)"
        : : "r"(values) : "memory");
    return agreed(values, 32);
}
static void sse_write(uint32_t value) {
    uint32_t values[32];
    if (!HAS_SSE2) {
        return;
    }
    for (int at = 0; at < 32; at++) {
        values[at] = value + at;
    }
    __asm__ volatile(
        "movdqu (%0), %%xmm0; movdqu 16(%0), %%xmm1; movdqu 32(%0), %%xmm2; movdqu 48(%0), %%xmm3;"
        "movdqu 64(%0), %%xmm4; movdqu 80(%0), %%xmm5; movdqu 96(%0), %%xmm6; movdqu 112(%0), %%xmm7"
        : : "r"(values) : "memory");
}

static uint32_t debug_read(void) {
    uint32_t values[4];
    __asm__ volatile("movl %%dr0, %0" : "=r"(values[0]));
    __asm__ volatile("movl %%dr1, %0" : "=r"(values[1]));
    __asm__ volatile("movl %%dr2, %0" : "=r"(values[2]));
    __asm__ volatile("movl %%dr3, %0" : "=r"(values[3]));
    return agreed(values, 4);
}
static void debug_write(uint32_t value) {
    __asm__ volatile("movl %0, %%dr0" : : "r"(value));
    __asm__ volatile("movl %0, %%dr1" : : "r"(value + 1));
    __asm__ volatile("movl %0, %%dr2" : : "r"(value + 2));
    __asm__ volatile("movl %0, %%dr3" : : "r"(value + 3));
}

static uint32_t cr2_read(void) {
    uint32_t value;
    __asm__ volatile("movl %%cr2, %0" : "=r"(value));
    return value;
}
static void cr2_write(uint32_t value) { __asm__ volatile("movl %0, %%cr2" : : "r"(value)); }

// The stack pointer of SYSENTER, a model specific register without effect here.
static uint32_t msr_read(void) {
    uint32_t value;
    if (!HAS_SYSENTER) {
        return ~0u;
    }
    __asm__ volatile("rdmsr" : "=a"(value) : "c"(0x175) : "edx");
    return value;
}
static void msr_write(uint32_t value) {
    if (HAS_SYSENTER) {
        __asm__ volatile("wrmsr" : : "a"(value), "d"(0), "c"(0x175));
    }
}

// The lines have their numbers: the runner has the names in the same order.
#define FIRST_DEVICE 0
static const struct device devices[] = {
    {uart_read, uart_write, 0xff},
    {cmos_read, cmos_write, 0xff},
    {pit_read, pit_write, 3},
    {pic_read, pic_write, 0xffff},
    // KVM keeps the upper half only (KVM_RUN's `cr8`).
    [DEVICE_APIC] = {apic_read, apic_write, 0xf0},
    {hpet_read, hpet_write, 0xffffffff},
    {bar_read, bar_write, 0xffff},
    {command_read, command_write, 3},
    {fpu_read, fpu_write, 0xffffffff},
    {sse_read, sse_write, 0xffffffff},
    {debug_read, debug_write, 0xffffffff},
    {cr2_read, cr2_write, 0xffffffff},
    {msr_read, msr_write, 0xffffffff},
};
static const uint32_t device_count = sizeof devices / sizeof devices[0];

// ---------------------------------------------------------------------------
// Start and sleep.

static void start_cpu(void) {
    uint32_t a = 1, c, d;
    // ebx is in use.
    __asm__ volatile("movl %%ebx, %%esi; cpuid; movl %%esi, %%ebx" : "+a"(a), "=c"(c), "=d"(d) : : "esi");
    cpu_features = d;
    if (HAS_SSE2) {
        __asm__ volatile("movl %%cr4, %%eax; orl $0x600, %%eax; movl %%eax, %%cr4" : : : "eax");
    }
    if (HAS_MMX) {
        __asm__ volatile("fninit");
    }
}

// Finds a function of bus 0 that is neither a bridge nor a display, with a base address whose upper half can be set, and
// a display's memory.
static void find_pci(void) {
    pci_function = 0;
    video_pages = 0;
    for (uint32_t function = 0; function < 256; function++) {
        uint32_t vendor = pci_get(function, 0);
        if ((vendor & 0xffff) == 0xffff) {
            continue;
        }
        uint32_t class = pci_get(function, 8) >> 24;
        if (class == 3 && !video_pages) {
            pci_set(function, 0x10, 0xffffffff);
            uint32_t size = -(pci_get(function, 0x10) & ~0xfu);
            pci_set(function, 0x10, VIDEO);
            pci_set(function, 4, 2);
            // At least the six pages that are checked.
            if (size >= 16 * PAGE_SIZE) {
                video_page = VIDEO / PAGE_SIZE;
                video_pages = size / PAGE_SIZE;
            }
        }
        if (class == 3 || class == 6 || pci_function || (pci_get(function, 0xc) >> 16 & 0x7f)) {
            continue;
        }
        // A firmware may have enabled a disk controller that reads commands from RAM: QEMU 7.2 cannot load its state if it
        // is no longer allowed to.
        pci_master = pci_get(function, 4) & 4;
        for (uint32_t bar = 0x10; bar < 0x28; bar += 4) {
            pci_set(function, 4, pci_master);
            pci_set(function, bar, 0xffff0000);
            // The upper half of a 64-bit base address works as well.
            if (pci_get(function, bar) >> 16 == 0xffff) {
                pci_function = function;
                pci_bar = bar;
                pci_bar_mask = 0xffff0000;
                break;
            }
        }
    }
}

static void start_machine(void) {
    start_console();
    start_cpu();
    start_clock();
    find_pci();
}

// ACPI sleep state S3. Without a BIOS the address of the power management registers is not set, so it is set here, in the
// configuration space of the ICH9 of a Q35 (0:1f.0) and of the PIIX4 of an i440FX (0:1.3): the base and its enable bit.
// Writes to the one that does not exist have no effect. The machine wakes up at the reset vector.
#define PM_BASE 0x600

static void suspend_machine(void) {
    pci_set(0x1f << 3, 0x40, PM_BASE | 1);
    pci_set(0x1f << 3, 0x44, 0x80);
    pci_set(0x01 << 3 | 3, 0x40, PM_BASE | 1);
    pci_set(0x01 << 3 | 3, 0x80, 1);
    // Switches from firmware to ACPI mode; each chipset has its own command for it.
    outb(0xb2, 0x02);
    outb(0xb2, 0xf1);
    // PM1 control: SLP_EN, sleep type 1, SCI_EN.
    outw(PM_BASE + 4, 0x2401);
    for (;;) {
        __asm__ volatile("hlt");
    }
}
