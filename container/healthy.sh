#!/bin/sh
# The container's health check: whether the server answers calls. It asks this machine, whatever address is listened on.
set -eu

address=${VECSERVE_ADDRESS:-127.0.0.1:50051}
exec vecserve health --address "127.0.0.1:${address##*:}" --timeout 4
