#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Build firmware.bin and bootsect.bin into OUTDIR (default: this folder).
# usage: build.sh [OUTDIR]
#
# AS, LD and OBJCOPY name other binutils, for example x86_64-linux-gnu-as on a
# host that is not x86.

set -eu

src=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
out=${1:-$src}
: "${AS:=as}" "${LD:=ld}" "${OBJCOPY:=objcopy}"

mkdir -p "$out"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# build NAME ADDRESS SIZE
build() {
    "$AS" --32 -I "$src" -o "$tmp/$1.o" "$src/$1.S"
    "$LD" -m elf_i386 -nostdlib --build-id=none -z noexecstack \
        -e image_start -Ttext="$2" -o "$tmp/$1.elf" "$tmp/$1.o"
    # Only .text: the notes that some binutils add stay behind.
    "$OBJCOPY" -O binary -j .text "$tmp/$1.elf" "$tmp/$1.bin"

    size=$(($(wc -c <"$tmp/$1.bin")))
    if [ "$size" -ne "$3" ]; then
        echo "build.sh: $1.bin has $size bytes, not $3" >&2
        exit 1
    fi
    magics=$(LC_ALL=C grep -a -o LKSTTICK "$tmp/$1.bin" | wc -l)
    if [ "$magics" -ne 1 ]; then
        echo "build.sh: $1.bin has the magic $((magics)) times, not once" >&2
        exit 1
    fi
    # Not cp: objcopy marks its output executable, which the images are not.
    cat "$tmp/$1.bin" >"$out/$1.bin"
}

build firmware 0xffff0000 65536
build bootsect 0x7c00 512
