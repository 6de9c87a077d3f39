#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Build firmware.bin and bootsect.bin into OUTDIR (default: this folder).
# usage: build.sh [OUTDIR]
#
# The images that are checked in were built with gcc-12; another version produces other bytes. CC, LD and OBJCOPY select
# other tools, for example x86_64-linux-gnu-gcc-12 on a host that is not x86.

set -eu

src=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
out=${1:-$src}
: "${CC:=gcc-12}" "${LD:=ld}" "${OBJCOPY:=objcopy}"

mkdir -p "$out"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

for source in ticker.c start.S; do
    "$CC" -m32 -march=i686 -mgeneral-regs-only -std=gnu11 -O2 -fomit-frame-pointer -ffixed-ebp -ffixed-ebx \
        -ffreestanding -fno-pic -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables \
        -fno-delete-null-pointer-checks -fno-strict-aliasing -fcf-protection=none -fno-ident \
        -Wall -Wextra -Werror -c -o "$tmp/${source%.*}.o" "$src/$source"
done

# body NAME IMAGE BODY BODY_SIZE
body() {
    "$LD" -m elf_i386 -nostdlib --build-id=none -z noexecstack --no-warn-rwx-segments \
        --defsym=IMAGE="$2" --defsym=BODY="$3" --defsym=BODY_SIZE="$4" -T "$src/x86.ld" -o "$tmp/$1.elf" \
        "$tmp/start.o" "$tmp/ticker.o"
    "$OBJCOPY" -O binary -j .text "$tmp/$1.elf" "$tmp/$1.body"
    magics=$(LC_ALL=C grep -a -o LKSTTICK "$tmp/$1.body" | wc -l)
    if [ "$magics" -ne 1 ]; then
        echo "build.sh: $1 has the magic $magics times, not once" >&2
        exit 1
    fi
}

# 64 KiB that end at 4 GiB, which is where QEMU maps the file given to -bios. The upper half is used.
body firmware 0xffff0000 0x8000 0x8000
{ head -c 32768 /dev/zero; cat "$tmp/firmware.body"; } >"$out/firmware.bin"

# 31 sectors after the boot sector.
body bootsect 0x22000 0 15872
"$CC" -m32 -DBODY_SECTORS=31 -c -o "$tmp/boot.o" "$src/bootsect.S"
"$LD" -m elf_i386 -nostdlib --build-id=none -z noexecstack -e boot -Ttext=0x7c00 -o "$tmp/boot.elf" "$tmp/boot.o"
"$OBJCOPY" -O binary -j .text "$tmp/boot.elf" "$tmp/boot.bin"
cat "$tmp/boot.bin" "$tmp/bootsect.body" >"$out/bootsect.bin"
