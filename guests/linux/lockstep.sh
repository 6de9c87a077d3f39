# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What the first process and the services share.

disk=/dev/vda
# Line n stands in this sector plus n.
first_sector=2000

complain() { echo "lockstep guest error: $*" >/dev/console; }

# Decimal digits without a leading zero (the shell would take it for octal), few
# enough for its arithmetic.
is_number() {
    case $1 in
    0) ;;
    '' | 0* | *[!0-9]* | ??????????*) return 1 ;;
    esac
}

# write_line N: write line N to its sector, and return when the disk has it.
write_line() {
    printf '%-511s\n' "$1" |
        dd of=$disk bs=512 count=1 seek=$((first_sector + $1)) conv=notrunc,fsync 2>/dev/null
}

# A disk test that needs no network.
disk_load() {
    local n=1
    while write_line $n; do
        echo "wrote $n"
        n=$((n + 1))
        usleep 100000
    done
    complain "cannot write line $n to $disk"
}
