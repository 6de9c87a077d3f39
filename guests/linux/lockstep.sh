# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Functions of the first process and the services.

disk=/dev/vda
# Line n is in this sector plus n.
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

# The numbers that draw() has drawn, a file for each.
draws=/tmp/draws

# draw N: draw a random number for N into $drawn, and keep it. Right after a
# checkpoint the random generators of both kernels are in the same state. The
# clock in nanoseconds and the listed timers are not.
draw() {
    drawn=$({ head -c 16 /dev/urandom; cat /proc/timer_list; } | sha256sum | head -c 8)
    mkdir -p $draws
    echo "$drawn" >"$draws/.$1.$$"
    mv "$draws/.$1.$$" "$draws/$1"
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

# The number of connections of visit(), and the directory in which each of them
# writes its last answer.
visitors=4
visits=/tmp/visits

# visit ADDRESS:PORT: keep connections to the echo service of another guest,
# and print how many numbers have been answered on every one of them.
visit() {
    local k heard=0 least n
    mkdir -p $visits
    for k in $(seq $visitors); do
        (VISITOR=$k nc "${1%:*}" "${1##*:}" -e /bin/visitor; complain "connection $k to $1 ended") &
    done
    until [ "$(ls $visits | wc -l)" = $visitors ]; do usleep 10000; done
    echo "visiting $1 on $visitors connections"
    while :; do
        least=
        for k in $(seq $visitors); do
            read -r n <$visits/$k
            if [ -z "$least" ] || [ "$n" -lt "$least" ]; then least=$n; fi
        done
        if [ "$least" -gt $heard ]; then
            heard=$least
            echo "heard $heard"
        fi
        usleep 100000
    done
}

# agent: run QEMU's guest agent on its port, if this machine has one.
agent() {
    local name port=
    # 3 is a console device. Its ports are announced some time after its driver is loaded.
    grep -qsx 0x0003 /sys/bus/virtio/devices/*/device || return
    while [ -z "$port" ]; do
        for name in /sys/class/virtio-ports/*/name; do
            if grep -qsx org.qemu.guest_agent.0 "$name"; then
                port=/dev/$(basename "$(dirname "$name")")
            fi
        done
        usleep 100000
    done
    while :; do qemu-ga -m virtio-serial -p "$port" -t /tmp 2>/tmp/agent.log; sleep 1; done
}

# console shell|login: a shell on the serial port, at once or after a login as
# root with the password `lockstep`. It starts again when it ends.
console() {
    if [ "$1" = login ]; then
        mkdir -p /etc
        echo "root:$(mkpasswd -m sha512 lockstep):0:0:root:/:/bin/sh" >/etc/passwd
        echo root:x:0: >/etc/group
    fi
    while :; do
        case $1 in
        shell) setsid getty -L -n -l /bin/sh 115200 ttyS0 vt100 ;;
        login) setsid getty -L 115200 ttyS0 vt100 ;;
        esac
        usleep 100000
    done
}
