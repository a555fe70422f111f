#!/usr/bin/env bash
# Installs the clients, each where the others do not disturb it. What cannot be installed is left out: prove.py says so.
# usage: install.sh WORKDIR
set -uo pipefail
mkdir -p "$1"
cd "$1"
python_client() {
  [ -x "$1/bin/python" ] || python3 -m venv "$1"
  "$1/bin/pip" install -q "${@:2}" || echo "not installed: ${*:2}" >&2
}
python_client web3py 'web3>=8,<9'
# ethereum-etl 2.4 imports pkg_resources, which setuptools no longer has from 81 on; its parser of ABI types imports what
# Python no longer has from 3.11 on, and its next version works as well.
python_client etl 'ethereum-etl>=2.4,<3' 'setuptools<81' && "$PWD/etl/bin/pip" install -q 'parsimonious==0.10.0' 2> /dev/null
npm install --no-audit --no-fund --ignore-scripts --silent ethers@6 viem@2 || echo "not installed: ethers, viem" >&2
