# SPDX-License-Identifier: MIT OR Apache-2.0
#
# firmware.S - the ticker as firmware: 64 KiB that end at 4 GiB, which is where
# QEMU maps the file given to -bios.  It runs in place, from ROM.

        .text
        .code16
        .globl  image_start
image_start:
        # After reset CS has the base 0xffff0000, the first byte of the image.
        .set    SEG_OFFSET, 0
        .set    FIRMWARE, 1

        # The last 4 KiB, so that the jump at the end is a short way back.
        .org    0xf000, 0
        .include "ticker.inc"

        # The reset vector, 0xfffffff0.
        .code16
        .org    0xfff0, 0
        jmp     real_entry
        .org    0x10000, 0
