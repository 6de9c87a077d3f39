#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Build the images into OUTDIR (default: this folder): firmware.bin and bootsect.bin for x86, aarch64.elf, s390x.elf,
# ppc64.bin.
# usage: build.sh [OUTDIR [ARCH…]]      ARCH: x86, aarch64, s390x, ppc64; default: all
#
# The images that are checked in were built with gcc-12; another version produces other bytes. CC, LD and OBJCOPY select
# other tools for x86, for example x86_64-linux-gnu-gcc-12 on a host that is not x86. The other images are made with
# Debian's cross compilers of the same version.

set -eu

src=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
out=${1:-$src}
[ $# -lt 1 ] || shift
[ $# -gt 0 ] || set -- x86 aarch64 s390x ppc64
: "${CC:=gcc-12}" "${LD:=ld}" "${OBJCOPY:=objcopy}"

mkdir -p "$out"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# What all architectures have in common.
flags="-std=gnu11 -O2 -fomit-frame-pointer -ffreestanding -fno-pic -fno-pie -fno-stack-protector
    -fno-asynchronous-unwind-tables -fno-delete-null-pointer-checks -fno-strict-aliasing -fno-ident
    -Wall -Wextra -Werror"

# once IMAGE: the image must have the parameters once.
once() {
    magics=$(LC_ALL=C grep -a -o LKSTTICK "$1" | wc -l)
    if [ "$magics" -ne 1 ]; then
        echo "build.sh: $1 has the magic $magics times, not once" >&2
        exit 1
    fi
}

# compile COMPILER SOURCE OBJECT FLAG…
compile() {
    compiler=$1 source=$2 object=$3
    shift 3
    # shellcheck disable=SC2086
    "$compiler" "$@" $flags -c -o "$tmp/$object" "$src/$source"
}

# body NAME IMAGE BODY BODY_SIZE
body() {
    "$LD" -m elf_i386 -nostdlib --build-id=none -z noexecstack --no-warn-rwx-segments \
        --defsym=IMAGE="$2" --defsym=BODY="$3" --defsym=BODY_SIZE="$4" -T "$src/x86.ld" -o "$tmp/$1.elf" \
        "$tmp/start.o" "$tmp/ticker.o"
    "$OBJCOPY" -O binary -j .text "$tmp/$1.elf" "$tmp/$1.body"
    once "$tmp/$1.body"
}

build_x86() {
    for source in ticker.c start.S; do
        compile "$CC" "$source" "${source%.*}.o" -m32 -march=i686 -mgeneral-regs-only -ffixed-ebp -ffixed-ebx \
            -fcf-protection=none
    done

    # 64 KiB that end at 4 GiB, which is where QEMU maps the file given to -bios. The upper half is used.
    body firmware 0xffff0000 0x8000 0x8000
    { head -c 32768 /dev/zero; cat "$tmp/firmware.body"; } >"$out/firmware.bin"

    # 31 sectors after the boot sector.
    body bootsect 0x22000 0 15872
    "$CC" -m32 -DBODY_SECTORS=31 -c -o "$tmp/boot.o" "$src/bootsect.S"
    "$LD" -m elf_i386 -nostdlib --build-id=none -z noexecstack -e boot -Ttext=0x7c00 -o "$tmp/boot.elf" "$tmp/boot.o"
    "$OBJCOPY" -O binary -j .text "$tmp/boot.elf" "$tmp/boot.bin"
    cat "$tmp/boot.bin" "$tmp/bootsect.body" >"$out/bootsect.bin"
}

# flat NAME TARGET TEXT DATA FLAG…: an ELF image, with nothing but the program.
flat() {
    name=$1 target=$2 text=$3 data=$4
    shift 4
    compile "$target-gcc-12" ticker.c "$name.o" "$@"
    "$target-ld" -nostdlib --build-id=none -z noexecstack -z max-page-size=4096 --no-warn-rwx-segments \
        --defsym=TEXT="$text" --defsym=DATA="$data" -T "$src/flat.ld" -o "$tmp/$name.elf" "$tmp/$name.o"
    "$target-objcopy" --strip-all "$tmp/$name.elf"
    once "$tmp/$name.elf"
}

build_aarch64() {
    flat aarch64 aarch64-linux-gnu 0x40080000 0x400a0000 -march=armv8-a -mgeneral-regs-only -mstrict-align \
        -mno-outline-atomics -ffixed-x27 -ffixed-x28
    cat "$tmp/aarch64.elf" >"$out/aarch64.elf"
}

build_s390x() {
    flat s390x s390x-linux-gnu 0x20000 0x30000 -march=z13 -mno-vx -msoft-float -mbackchain -ffixed-r9 -ffixed-r10
    cat "$tmp/s390x.elf" >"$out/s390x.elf"
}

build_ppc64() {
    flat ppc64 powerpc64-linux-gnu 0 0x30000 -mcpu=power8 -mabi=elfv2 -msoft-float -mno-altivec -mno-vsx \
        -ffixed-r28 -ffixed-r29
    powerpc64-linux-gnu-objcopy -O binary -j .text "$tmp/ppc64.elf" "$out/ppc64.bin"
}

for arch in "$@"; do "build_$arch"; done
