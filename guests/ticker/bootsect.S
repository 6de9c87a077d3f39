# SPDX-License-Identifier: MIT OR Apache-2.0
#
# bootsect.S - the first sector of a disk. The BIOS loads it at 0x7c00 and jumps there; it loads the body of the ticker,
# the sectors after it, and jumps to that.

        .text
        .code16
        .set    BODY_SEGMENT, 0x2200
        .globl  boot
boot:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $0x7c00, %sp
        sti
        movw    $packet, %si
        # Extended read of the drive in dl.
        movb    $0x42, %ah
        int     $0x13
        jc      failed
        ljmp    $BODY_SEGMENT, $0
failed:
        movw    $message, %si
1:      lodsb
        testb   %al, %al
        jz      2f
        # To COM1, as it is.
        movw    $0x3f8, %dx
        outb    %al, %dx
        jmp     1b
2:      hlt
        jmp     2b
message:
        .asciz  "the ticker could not be read from its disk\n"
        .balign 4, 0
packet:
        .byte   16, 0
        .word   BODY_SECTORS
        .word   0, BODY_SEGMENT
        .long   1, 0

        .org    510, 0
        .byte   0x55, 0xaa
