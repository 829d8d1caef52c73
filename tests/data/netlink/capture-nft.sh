#!/usr/bin/env bash
# Writes nft_sets.hex: the transaction that nft sends for the script below. Needs strace, nf_tables and a kernel
# that lets users make namespaces.
set -euo pipefail
cd "$(dirname "$0")"
script='add element inet ippriv handed_out { 10.65.0.1 }
delete element inet ippriv handed_out { 10.66.0.1 }
add element inet ippriv handed_out6 { 2001:db8::1 }'
version=$(nft --version)
# shellcheck disable=SC2016
unshare -rn bash -ec '
    nft "add table inet ippriv
        add set inet ippriv handed_out { type ipv4_addr; elements = { 10.66.0.1 }; }
        add set inet ippriv handed_out6 { type ipv6_addr; }"
    strace -e trace=sendmsg -e write=all nft "$1" 2>&1' - "$script" |
    sed -n 's/^ | [0-9a-f]*  \(.\{48\}\).*/\1/p' | tr -d ' \n' | fold -w 64 >nft_sets.hex.new
grep -q . nft_sets.hex.new
{ sed 's/^/# /' <<<"$script"; echo "# ($version)"; cat nft_sets.hex.new; echo; } >nft_sets.hex
rm nft_sets.hex.new
