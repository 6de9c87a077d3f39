# apt with a root of its own: the part that the fetch scripts share, for bash.
# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
#
# apt runs with its own lists, its own cache and an empty dpkg status, so that
# every dependency comes from the suite that was asked for, and only downloads.
# The system is not changed; root is not needed.
#
# The script that sources this has set $me, its name, for messages. Environment:
#   LOCKSTEP_DEBIAN_MIRROR, LOCKSTEP_DEBIAN_KEYRING, LOCKSTEP_FETCH_INSECURE

mirror='' # choose_archive says which

say() { printf '%s: %s\n' "$me" "$*" >&2; }
die() { say "$*"; exit 1; }

# need_tools [TOOL...]: apt's own and these must be there.
need_tools() {
    local tool
    for tool in apt-get apt-config dpkg dpkg-deb tar "$@"; do
        command -v "$tool" >/dev/null ||
            die "$tool is missing; this needs a Debian-like machine (apt, dpkg, tar, util-linux)"
    done
}

# fits_apt FOLDER: it goes into apt's configuration and source list, which have
# no quoting.
fits_apt() {
    case $1 in *[\"\;\[\]\{\}\\%\ $'\t\n']*) die "the folder's name has characters apt cannot take: $1" ;; esac
}

# Entries of this machine's apt configuration that hold a main archive, as
# "REPO-URI RELEASE"; apt reads both source formats for us. First those that
# say they are Debian's; where apt has no lists yet (a fresh container image)
# nothing is known of the origin, then what looks like Debian's by its address,
# then by its release. Security, backports and third-party archives drop out; a
# wrong guess would fail at the signature.
machine_sources() {
    # shellcheck disable=SC2016
    for opt in --release-info --no-release-info; do
        apt-get indextargets $opt \
            --format '$(ORIGIN)|$(COMPONENT)|$(REPO_URI)|$(RELEASE)' \
            'Created-By: Packages' 2>/dev/null || :
    done |
        awk -F'|' '
            $2 != "main" || $4 ~ /security|backports/ || $3 ~ /debian-security/ { next }
            $1 == "Debian" { one[++a] = $3 " " $4; next }
            $1 != "" && $1 != "$(ORIGIN)" { next }
            $3 ~ /\/debian\/?$/ { two[++b] = $3 " " $4; next }
            $4 ~ /^(bullseye|bookworm|trixie|forky|duke|sid|((old)?old)?stable|testing|unstable)(-updates)?$/ {
                three[++c] = $3 " " $4 }
            END { for (i = 1; i <= a; i++) print one[i]
                  for (i = 1; i <= b; i++) print two[i]
                  for (i = 1; i <= c; i++) print three[i] }'
}

# Where packages come from and what must verify them, in $mirror and $keyring.
choose_archive() {
    export LC_ALL=C DEBIAN_FRONTEND=noninteractive
    arch=$(dpkg --print-architecture)
    local f
    mirror=${LOCKSTEP_DEBIAN_MIRROR:-}
    if [ -z "$mirror" ]; then
        mirror=$(machine_sources | sed -n '1s/ .*//p')
        [ -n "$mirror" ] || die "no Debian archive in this machine's apt configuration;" \
            "set LOCKSTEP_DEBIAN_MIRROR to the base URL of one"
    fi

    keyring=${LOCKSTEP_DEBIAN_KEYRING:-}
    if [ -z "$keyring" ]; then
        for f in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
            [ -r "$f" ] && { keyring=$f; break; }
        done
    fi
    # Without one, apt falls back to the keys it trusts for everything.
    [ -z "$keyring" ] || [ -r "$keyring" ] || die "cannot read the keyring $keyring"
}

# private_apt FOLDER "SUITE..." [KEYRING]: make FOLDER an apt root for these suites.
private_apt() {
    local t=$1 suite opt=
    mkdir -p "$t/state/lists/partial" "$t/cache/archives/partial" "$t/log" "$t/none"
    : >"$t/status"
    [ -z "${3:-}" ] || opt="signed-by=$3"
    if [ "${LOCKSTEP_FETCH_INSECURE:-}" = 1 ]; then opt="trusted=yes"; fi
    for suite in $2; do
        printf 'deb %s %s %s main\n' "${opt:+[$opt]}" "$mirror" "$suite"
    done >"$t/sources.list"
    # The machine's own settings are cut off (hooks such as docker-clean's
    # would touch the system), but how to reach the network is taken over.
    # The copy may hold a proxy's password, hence the mode.
    (
        umask 077
        {
            apt-config dump |
                grep -E '^Acquire::[^ ]' |
                grep -vE '^Acquire::(IndexTargets|Languages|CompressionTypes|Changelogs|Allow|Max-FutureTime|Min-ValidTime|Max-ValidTime)' || :
            cat <<CONF
Dir::Etc::main "/dev/null";
Dir::Etc::parts "$t/none";
Dir::Etc::sourcelist "$t/sources.list";
Dir::Etc::sourceparts "$t/none";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$t/none";
Dir::State "$t/state";
Dir::State::status "$t/status";
Dir::Cache "$t/cache";
Dir::Log "$t/log";
# root would otherwise drop to a user who may not enter the folder
APT::Sandbox::User "root";
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::GzipIndexes "false";
Acquire::Retries "3";
# A mirror may lag and a machine's clock be off; the signature still counts.
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
CONF
        } >"$t/apt.conf"
    )
}

# in_apt FOLDER COMMAND...: run it with that root.
in_apt() {
    local t=$1
    shift
    APT_CONFIG=$t/apt.conf "$@"
}

unverified='NO_PUBKEY|KEYSIG|BADSIG|Missing key|signature verification|GPG error|is not signed'

# Try `apt-get update`; 0 fine, 2 not verified, 1 anything else (log in FOLDER/update).
apt_update() {
    if in_apt "$1" apt-get -q update >"$1/update" 2>&1 </dev/null; then return 0; fi
    grep -qE "$unverified" "$1/update" && return 2
    return 1
}

# A keyring older than the suite's keys: Debian ships new keys in updates of
# its older releases. So ask this machine's own releases, which the old keyring
# does verify, for their newest debian-archive-keyring. Prints its path.
newer_keyring() {
    local t=$1 own f
    own=$(machine_sources | sed 's/.* //' | sort -u)
    [ -n "$own" ] && [ -n "$keyring" ] || return 1
    private_apt "$t" "$own" "$keyring"
    # Its result does not matter: `download` takes nothing from a release that
    # did not verify.
    apt_update "$t" || :
    (cd "$t" && in_apt "$t" apt-get -q download debian-archive-keyring) >/dev/null 2>&1 || return 1
    dpkg-deb -x "$t"/debian-archive-keyring_*.deb "$t/keys" || return 1
    for f in "$t"/keys/usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        [ -e "$f" ] && { readlink -f "$f"; return 0; }
    done
    return 1
}

# read_lists FOLDER SUITE: make FOLDER an apt root for SUITE, with its lists.
read_lists() {
    local t=$1 suite=$2 ring newer state=0
    [ -n "$mirror" ] || choose_archive
    ring=$keyring
    if [ "${LOCKSTEP_FETCH_INSECURE:-}" = 1 ]; then
        say "$suite: WARNING: signatures are not checked (LOCKSTEP_FETCH_INSECURE=1)"
    fi
    say "$suite: reading the package lists"
    private_apt "$t" "$suite" "$ring"
    apt_update "$t" || state=$?
    if [ $state = 2 ] && [ -z "${LOCKSTEP_DEBIAN_KEYRING:-}" ]; then
        say "$suite: its key is newer than this machine's keyring; trying a newer keyring"
        if newer=$(newer_keyring "$t.keyring"); then
            ring=$newer
            private_apt "$t" "$suite" "$ring"
            state=0
            apt_update "$t" || state=$?
        fi
    fi
    case $state in
    0) ;;
    2)  grep -E "$unverified" "$t/update" >&2 || :
        die "$suite: its Release file cannot be verified with ${ring:-the keys apt trusts};" \
            "install a newer debian-archive-keyring (or name a keyring in" \
            "LOCKSTEP_DEBIAN_KEYRING; LOCKSTEP_FETCH_INSECURE=1 goes on without)" ;;
    *)  grep -E '^(E|Err|W):?' "$t/update" >&2 || cat "$t/update" >&2
        die "$suite: cannot read its package lists; is that a Debian suite, and the network there?" ;;
    esac
}

# candidate FOLDER PACKAGE: "PACKAGE VERSION", as the suite has it.
candidate() {
    in_apt "$1" apt-cache policy "$2" | awk -v name="$2" '$1 == "Candidate:" { print name " " $2 }'
}

# download FOLDER SUITE PACKAGE...: with all dependencies, to FOLDER/cache/archives.
download() {
    local t=$1 suite=$2
    shift 2
    in_apt "$t" apt-get -q -y --download-only --no-install-recommends install \
        "$@" >"$t/install" 2>&1 </dev/null || {
        grep -E '^(E|Err|W):?|Depends' "$t/install" >&2 || cat "$t/install" >&2
        die "$suite: the download failed"
    }
}
