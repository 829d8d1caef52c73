#!/usr/bin/env bash
# Writes what nft lists after table.nft: table.json and table.txt. Needs nf_tables and users' namespaces.
set -euo pipefail
cd "$(dirname "$0")"
unshare -rn bash -ec '
    nft -f table.nft
    nft -j list table inet ippriv >table.json
    nft -s -a list table inet ippriv >table.txt'
