#!/bin/sh
# The container's health check: whether the server answers calls. It asks this machine, whatever address is listened on.
# Where the server wants TLS or tokens, VECSERVE_HEALTH_ADDRESS gives health a port without.
set -eu

address=${VECSERVE_HEALTH_ADDRESS:-${VECSERVE_ADDRESS:-127.0.0.1:50051}}
case $address in
unix:*) ;;
*) address=127.0.0.1:${address##*:} ;;
esac
exec vecserve health --address "$address" --timeout 4
