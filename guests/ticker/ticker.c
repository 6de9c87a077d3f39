// SPDX-License-Identifier: MIT OR Apache-2.0
//
// ticker.c - the body of the ticker, the same on all architectures.
//
// The ticker is a guest that detects whether its RAM, its CPU and its devices are in the same state. It counts passes in
// a register. RAM has values that are computed from the count, from a number of the runner (the witness, in a second
// register) or from the address alone; devices have values that are computed from the count. On each pass all of them are
// compared with the registers.
//
// machine.h declares what the layer of an architecture provides; README.md describes the layout of RAM and the lines.

#include "machine.h"

#define WORDS (PAGE_SIZE / 4)
#define LAST_WORD (WORDS - 1)

// The maximum number of lines for wrong pages and devices in one pass; further ones are only counted.
#define MAX_LINES 8

// The TLB is flushed after this number of live pages, and before devices are checked: QEMU's emulator does not see each
// write to a page whose translation was in use before a migration started (README.md).
#define FORGET_AFTER 128

// The kind of a page.
enum {
    LIVE,       // changes on each pass
    STILL,      // written once
    WITNESS,    // written when the witness is set
    ZERO_EVEN,  // as LIVE, and zero while the count is even
    ZERO_ODD,   // as LIVE, and zero while the count is odd
};

// The first number of a `time` line.
enum {
    CYCLES_BACK,    // the cycle counter went backwards
    CLOCK_BACK,     // the clock went backwards
    CYCLES_SLOW,    // the cycle counter advanced less than the clock since the last tick
};

// The runner finds this structure by its magic number, and fills it in its copy of the image.
const volatile struct parameters parameters __attribute__((section(".parameters"))) = {
    .magic = {'L', 'K', 'S', 'T', 'T', 'I', 'C', 'K'},
    .every = 64,
    .extent_count = 1,
    .extents = {{.page = 0x100, .pages = 1024, .kind = LIVE}},
};

// Kept over a sleep and a reset: all other data is cleared when the program starts.
static struct {
    uint32_t state;     // SUSPENDED or AWAKE, after a sleep
    uint32_t count;
    uint32_t witness;
} sleep __attribute__((section(".kept")));

#define SUSPENDED 0x70656c73
#define AWAKE 0x656b6177

static uint32_t wrong_pages, first_wrong, last_wrong, lines;
static uint32_t live_index;

// The line from the runner that is being read: the digits so far.
static uint32_t heard_digits, heard_first, heard_second;

static uint32_t clock_last, clock_rest, milliseconds;
static uint64_t cycles_last;
static uint32_t tick_clock, tick_cycles, cycles_per_clock;

// ---------------------------------------------------------------------------
// Lines: a word and numbers, each with ten decimal digits. All numbers are printed twice, so that a line merged from two
// others is detected.

static void print_number(uint32_t value) {
    char digits[10];
    for (int at = 9; at >= 0; at--) {
        digits[at] = '0' + value % 10;
        value /= 10;
    }
    console_put(' ');
    for (int at = 0; at < 10; at++) {
        console_put(digits[at]);
    }
}

static void print_line(const char *word, const uint32_t *numbers, int count) {
    while (*word) {
        console_put(*word++);
    }
    for (int twice = 0; twice < 2; twice++) {
        for (int at = 0; at < count; at++) {
            print_number(numbers[at]);
        }
    }
    console_put('\n');
}

#define LINE(word, ...)                                                              \
    do {                                                                             \
        const uint32_t numbers[] = {__VA_ARGS__};                                    \
        print_line(word, numbers, sizeof numbers / sizeof numbers[0]);               \
    } while (0)

// ---------------------------------------------------------------------------
// The values in RAM.

// A number specific to this word.
static inline uint32_t mix(uint32_t page, uint32_t word) {
    uint32_t x = (page * WORDS + word + 1) * 0x9e3779b1u;
    return x ^ x >> 15;
}

// The word between the first and the last that is checked in this page.
static inline uint32_t middle(uint32_t page) {
    uint32_t x = (page + parameters.draw) * 0x85ebca6bu;
    return 1 + ((x >> 16) * (WORDS - 2) >> 16);
}

static inline int is_zero(uint32_t kind, uint32_t passes) {
    return (kind == ZERO_EVEN && !(passes & 1)) || (kind == ZERO_ODD && (passes & 1));
}

// One page of eight is zero on even counts, one on odd counts.
static inline uint32_t live_kind(void) {
    uint32_t index = live_index++ & 7;
    return index == 1 ? ZERO_EVEN : index == 5 ? ZERO_ODD : LIVE;
}

// The words of a still page without a specific value: a text of few different words. It can be compressed, and a higher
// compression level gives a better result.
static inline uint32_t filling(uint32_t page, uint32_t word) {
    uint32_t x = mix(page, word >> 2);
    uint32_t phrase = x >> 20 & 0xff;
    return mix(phrase, x & 8 ? word & 3 : x >> 4 & 3) & 0x3f3f3f3f;
}

static inline uint32_t still_value(uint32_t page, uint32_t word) {
    if (word == 0 || word == LAST_WORD || word == middle(page)) {
        return mix(page, word);
    }
    return filling(page, word);
}

static void bad(uint32_t page, uint32_t word, uint32_t kind, uint32_t found) {
    if (!wrong_pages || last_wrong != page) {
        if (!wrong_pages++) {
            first_wrong = page;
        }
        last_wrong = page;
        if (lines++ < MAX_LINES) {
            LINE("bad", page, word, kind, found, count, witness);
        }
    }
}

static inline void live_word(volatile uint32_t *words, uint32_t page, uint32_t word, uint32_t kind) {
    uint32_t found = words[word];
    uint32_t own = mix(page, word);
    if (found != (is_zero(kind, count) ? 0 : count + own)) {
        bad(page, word, kind, found);
    }
    if (kind == LIVE) {
        // Not corrected: damage stays visible.
        words[word] = found + 1;
    } else {
        words[word] = is_zero(kind, count + 1) ? 0 : count + 1 + own;
    }
}

static inline void live_page(uint32_t page) {
    if (!(live_index % FORGET_AFTER)) {
        forget_translations();
    }
    volatile uint32_t *words = page_at(page);
    uint32_t kind = live_kind();
    live_word(words, page, 0, kind);
    live_word(words, page, middle(page), kind);
    live_word(words, page, LAST_WORD, kind);
    if (parameters.flags & EXITS) {
        leave_guest();
    }
}

static inline void still_word(volatile uint32_t *words, uint32_t page, uint32_t word, uint32_t kind, uint32_t value) {
    uint32_t found = words[word];
    if (found != value) {
        bad(page, word, kind, found);
    }
}

static void still_page(uint32_t page) {
    volatile uint32_t *words = page_at(page);
    uint32_t other = count & LAST_WORD;
    still_word(words, page, 0, STILL, mix(page, 0));
    still_word(words, page, middle(page), STILL, mix(page, middle(page)));
    still_word(words, page, LAST_WORD, STILL, mix(page, LAST_WORD));
    // All the others in turn.
    still_word(words, page, other, STILL, still_value(page, other));
}

static void witness_page(uint32_t page) {
    volatile uint32_t *words = page_at(page);
    still_word(words, page, 0, WITNESS, witness + mix(page, 0));
    still_word(words, page, middle(page), WITNESS, witness + mix(page, middle(page)));
    still_word(words, page, LAST_WORD, WITNESS, witness + mix(page, LAST_WORD));
}

static void write_witness(uint32_t page) {
    volatile uint32_t *words = page_at(page);
    words[0] = witness + mix(page, 0);
    words[middle(page)] = witness + mix(page, middle(page));
    words[LAST_WORD] = witness + mix(page, LAST_WORD);
}

static void write_page(uint32_t page, uint32_t kind) {
    volatile uint32_t *words = page_at(page);
    if (kind == WITNESS) {
        write_witness(page);
    } else if (kind == STILL) {
        for (uint32_t word = 0; word < WORDS; word++) {
            words[word] = still_value(page, word);
        }
    } else {
        kind = live_kind();
        if (kind != LIVE && parameters.flags & CLEARS) {
            for (uint32_t word = 0; word < WORDS; word++) {
                words[word] = 0;
            }
        }
        int zero = is_zero(kind, count);
        words[0] = zero ? 0 : count + mix(page, 0);
        words[middle(page)] = zero ? 0 : count + mix(page, middle(page));
        words[LAST_WORD] = zero ? 0 : count + mix(page, LAST_WORD);
    }
}

// Processes each page of the working set, in ascending order; then the pages of video memory.
enum { WRITE, COMPARE, SET_WITNESS };

static inline void visit_page(uint32_t page, uint32_t kind, int what) {
    if (what == WRITE) {
        write_page(page, kind);
    } else if (what == SET_WITNESS) {
        if (kind == WITNESS) {
            write_witness(page);
        }
    } else if (kind == LIVE) {
        live_page(page);
    } else if (kind == STILL) {
        still_page(page);
    } else {
        witness_page(page);
    }
}

static inline void visit_extent(uint32_t page, uint32_t pages, uint32_t kind, int what) {
    for (uint32_t at = 0; at < pages; at++) {
        visit_page(page + at, kind, what);
    }
}

static inline __attribute__((always_inline)) void visit(int what) {
    live_index = 0;
    for (uint32_t at = 0; at < parameters.extent_count; at++) {
        visit_extent(parameters.extents[at].page, parameters.extents[at].pages, parameters.extents[at].kind, what);
    }
    if (video_pages) {
        // The two ends of video memory, and its middle.
        visit_extent(video_page, 2, LIVE, what);
        visit_extent(video_page + video_pages / 2, 2, LIVE, what);
        visit_extent(video_page + video_pages - 2, 2, LIVE, what);
    }
}

// ---------------------------------------------------------------------------
// Devices.

static inline uint32_t device_value(uint32_t device, uint32_t passes) {
    return mix(passes, device) & devices[device].mask;
}

static void write_devices(uint32_t passes) {
    for (uint32_t device = 0; device < device_count; device++) {
        if (devices_present & 1u << (device + FIRST_DEVICE)) {
            devices[device].write(device_value(device, passes));
        }
    }
}

static void find_devices(void) {
    devices_present = 0;
    for (uint32_t device = 0; device < device_count; device++) {
        uint32_t mask = devices[device].mask;
        int there = 1;
        for (uint32_t probe = 0xa5a5a5a5; there && probe; probe = probe == 0xa5a5a5a5 ? 0x5a5a5a5a : 0) {
            devices[device].write(probe & mask);
            there = devices[device].read() == (probe & mask);
        }
        devices_present |= (uint32_t)there << (device + FIRST_DEVICE);
    }
}

static void compare_devices(void) {
    for (uint32_t device = 0; device < device_count; device++) {
        if (devices_present & 1u << (device + FIRST_DEVICE)) {
            uint32_t expected = device_value(device, count);
            uint32_t found = devices[device].read();
            if (found != expected && lines++ < MAX_LINES) {
                LINE("device", device + FIRST_DEVICE, expected, found, count);
            }
        }
    }
    write_devices(count + 1);
}

// ---------------------------------------------------------------------------
// Time. It must not go backwards from one pass to the next. From one tick to the next, the cycle counter must not fall
// behind the clock if both stop together with the machine. (It may be ahead: a QEMU that loads a checkpoint does not let it
// go backwards, and so keeps the time that its own guest had run longer.) The runner compares the clock with its own.

static void begin_time(void) {
    clock_last = clock_now();
    cycles_last = cycles_now();
    tick_clock = clock_last;
    tick_cycles = cycles_last >> 8;
    cycles_per_clock = 0;
}

static void compare_time(void) {
    uint32_t now = clock_now();
    uint32_t passed = now - clock_last;
    if ((int32_t)passed < 0) {
        // QEMU does not migrate the count of a timer that KVM runs.
        if (parameters.flags & EMULATED) {
            LINE("time", CLOCK_BACK, clock_last, now);
        }
        passed = 0;
    }
    clock_last = now;
    clock_rest += passed;
    milliseconds += clock_rest / CLOCKS_PER_2MS * 2;
    clock_rest %= CLOCKS_PER_2MS;

    uint64_t cycles = cycles_now();
    if (cycles < cycles_last) {
        LINE("time", CYCLES_BACK, cycles_last >> 8, cycles >> 8);
    }
    cycles_last = cycles;
}

// Reads both counters, shortly after one another so that they can be compared. Returns 0 if that did not succeed: the
// host may interrupt the vCPU at any time.
static int read_both(uint32_t *clock, uint32_t *cycles) {
    for (int tries = 0; tries < 4; tries++) {
        *clock = clock_now();
        *cycles = cycles_now() >> 8;
        if (clock_now() - *clock < CLOCKS_PER_2MS) {
            return 1;
        }
    }
    return 0;
}

static void compare_rates(void) {
    uint32_t clock, cycles;
    if (!(parameters.flags & EMULATED) || !read_both(&clock, &cycles)) {
        return;
    }
    uint32_t clocks_passed = clock - tick_clock;
    uint32_t cycles_passed = cycles - tick_cycles;
    // A long enough interval to measure.
    if (clocks_passed < 16 * CLOCKS_PER_2MS) {
        return;
    }
    tick_clock = clock;
    tick_cycles = cycles;
    // In larger units if they need more than 22 bits, so that no product below needs more than 32.
    uint32_t clocks = clocks_passed, seen = cycles_passed, two_seconds = 1000 * CLOCKS_PER_2MS;
    while ((clocks | seen) >> 22) {
        clocks >>= 1;
        seen >>= 1;
        two_seconds >>= 1;
    }
    if (!cycles_per_clock) {
        cycles_per_clock = (seen << 8) / clocks;
        return;
    }
    uint32_t expected = (clocks >> 6) * cycles_per_clock >> 2;
    uint32_t allowed = expected / 2 + ((two_seconds >> 6) * cycles_per_clock >> 2);
    if (seen + allowed < expected) {
        LINE("time", CYCLES_SLOW, clocks_passed, cycles_passed);
    }
}

// ---------------------------------------------------------------------------
// The witness: `w`, six hexadecimal digits, and the same six digits again. Anything else is ignored, such as a truncated
// line.

static void set_witness(uint32_t value) {
    witness = value;
    visit(SET_WITNESS);
}

static void hear_byte(int byte) {
    uint32_t digit = byte >= '0' && byte <= '9' ? byte - '0' : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : 16;
    if (byte == 'w') {
        heard_digits = 0;
        heard_first = 0;
        heard_second = 0;
    } else if (digit > 15 || heard_digits >= 12) {
        heard_digits = 12;
    } else if (heard_digits++ < 6) {
        heard_first = heard_first << 4 | digit;
    } else {
        heard_second = heard_second << 4 | digit;
        if (heard_digits == 12 && heard_first == heard_second && heard_first) {
            set_witness(heard_first);
        }
    }
}

// ---------------------------------------------------------------------------

static void fall_asleep(void) {
    sleep.count = count;
    sleep.witness = witness;
    sleep.state = SUSPENDED;
    suspend_machine();
}

static void begin(void) {
    clear_data();
    start_machine();
    count = 0;
    witness = 0;
    heard_digits = 12;
    visit(WRITE);
    if (parameters.flags & SELF_PATCHING) {
        write_routine();
    }
    find_devices();
    uint32_t pages[3] = {0, 0, 0};
    for (uint32_t at = 0; at < parameters.extent_count; at++) {
        pages[parameters.extents[at].kind] += parameters.extents[at].pages;
    }
    LINE("ready", pages[LIVE], pages[STILL], pages[WITNESS], parameters.every, parameters.draw, devices_present,
         video_pages);
}

static void wake_up(void) {
    sleep.state = AWAKE;
    start_machine();
    count = sleep.count;
    witness = sleep.witness;
    find_devices();
    LINE("awake", count);
}

void ticker(void) {
    if ((parameters.flags & SUSPEND) && sleep.state == SUSPENDED) {
        wake_up();
    } else {
        begin();
    }
    write_devices(count);
    begin_time();
    for (uint32_t left = parameters.every;;) {
        if (parameters.flags & SELF_PATCHING) {
            // Patched and run here, so that an emulator has a translation of it during the pass. A change of memory from
            // outside makes the translation stale. Run again and compared at the end.
            patch_routine(count);
            run_routine();
        }
        wrong_pages = 0;
        lines = 0;
        visit(COMPARE);
        if (wrong_pages) {
            LINE("badpages", wrong_pages, first_wrong, last_wrong);
        }
        if (parameters.flags & SELF_PATCHING) {
            uint32_t found = run_routine();
            if (found != count) {
                LINE("stale", count, found);
            }
        }
        forget_translations();
        compare_devices();
        compare_time();
        count++;
        if (--left == 0) {
            for (int byte; (byte = console_get()) >= 0;) {
                hear_byte(byte);
            }
            compare_rates();
            LINE("tick", count, witness, milliseconds);
            if ((parameters.flags & SUSPEND) && sleep.state != AWAKE) {
                fall_asleep();
            }
            left = parameters.every;
        }
    }
}
