# SPDX-License-Identifier: MIT OR Apache-2.0
#
# bootsect.S - the ticker as the boot sector of a disk.  The BIOS loads it at
# 0x7c00 and jumps to 0000:7c00.  Nothing else of the disk is read.

        .text
        .code16
        .globl  image_start
image_start:
        .set    SEG_OFFSET, 0x7c00

        .include "ticker.inc"

        # The assembler refuses to go backwards, so a body that has grown too
        # long for a boot sector does not build.
        .org    510, 0
        .byte   0x55, 0xaa
