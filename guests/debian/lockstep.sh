# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Functions and settings of the start and the console.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8

complain() { echo "lockstep guest error: $*" >/dev/console; }

# word NAME DEFAULT: the value of lockstep.NAME= on the kernel's command line.
word() {
    local word value=$2
    for word in $(cat /proc/cmdline); do
        case $word in "lockstep.$1="*) value=${word#*=} ;; esac
    done
    echo "$value"
}

# one_of NAME DEFAULT WORD...: the same; it must be one of these words.
one_of() {
    local name=$1 value
    value=$(word "$1" "$2")
    shift 2
    case " $* " in
    *" $value "*) echo "$value" ;;
    *) complain "lockstep.$name=$value: not one of $*" ;;
    esac
}
