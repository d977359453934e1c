#!/bin/sh
# Installs a server into an environment of its own: install.sh WHEEL RUNTIME FOLDER, with RUNTIME one of cpu, gpu, openvino.
# The images' build and the tests both run it.
set -eu

wheel=$1 runtime=$2 folder=$3

case $runtime in
cpu | gpu | openvino) ;;
*)
    echo "RUNTIME is '$runtime', and must be cpu, gpu or openvino" >&2
    exit 2
    ;;
esac

python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check "${wheel}[server,$runtime]"
# Nothing is installed later: pip would be 15 MB that only an intruder uses.
"$folder/bin/python" -m pip uninstall --quiet --yes --disable-pip-version-check pip setuptools
