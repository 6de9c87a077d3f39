# SPDX-License-Identifier: MIT OR Apache-2.0
#
# start.S - from real mode to the body of the ticker in flat 32-bit protected mode. The base of CS is IMAGE (see x86.ld).

        .section .start, "ax"
        .code16
        .globl  real_entry
real_entry:
        cli
        cld
        lgdtl   %cs:gdt_offset
        # PE and ET only.  A CPU fresh from reset also has CD and NW set, which
        # turn the caches off; a plain load clears them in the same step.
        movl    $0x11, %eax
        movl    %eax, %cr0
        ljmpl   $8, $protected_entry

        .code32
protected_entry:
        movl    $16, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $stack_top, %esp

        # Enables A20, by the fast gate.  Bit 0 of the port resets the machine when
        # written as 1, so it is kept clear.
        inb     $0x92, %al
        orb     $2, %al
        andb    $0xfe, %al
        outb    %al, $0x92
        jmp     ticker

        # The CPU never reads descriptor 0, so the operand of lgdt is there.
        # The "accessed" bits are set already: the CPU would otherwise write
        # them, and one of the images is ROM.
        .balign 8, 0
        .globl  gdt
gdt:
        .word   gdt_end - gdt - 1
        .long   gdt
        .word   0
        .word   0xffff, 0x0000, 0x9b00, 0x00cf  # 8: flat code
        .word   0xffff, 0x0000, 0x9300, 0x00cf  # 16: flat data
gdt_end:

        .section .reset, "ax"
        .code16
        # The reset vector.
        jmp     real_entry
