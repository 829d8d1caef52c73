#!/usr/bin/env bash
# Writes NAME.hex for every line of commands.txt: the netlink message that iproute2 sends for that command.
# Needs strace and a kernel that lets users make namespaces. Whether the kernel then obeys does not matter.
set -euo pipefail
cd "$(dirname "$0")"
version=$(ip -V)
while read -r name type command; do
    [[ -z $name || $name == \#* ]] && continue
    # strace numbers the octets of each buffer; a netlink message tells its type in the fifth and sixth.
    # The last one counts: iproute2 tries out what the kernel knows first.
    # shellcheck disable=SC2086
    { unshare -rn strace -e trace=sendmsg,sendto -e write=all $command 2>&1 >/dev/null || true; } |
        sed -n 's/^ \* .*/new/p; s/^ | [0-9a-f]*  \(.\{48\}\).*/\1/p' |
        awk -v type="$type" '
            function flush() { if (substr(hex, 9, 4) == type) last = hex; hex = "" }
            /new/ { flush(); next } { gsub(/ /, ""); hex = hex $0 } END { flush(); print last }' |
        fold -w 64 >"$name.hex.new"
    grep -q . "$name.hex.new" || { echo "$name: no message of type $type" >&2; rm "$name.hex.new"; exit 1; }
    # iproute2 numbers its messages by the clock.
    { echo "# $command   ($version)"; sed '1s/^\(.\{16\}\)......../\100000000/' "$name.hex.new"; } >"$name.hex"
    rm "$name.hex.new"
done <commands.txt
