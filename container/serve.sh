#!/bin/sh
# The container's command: flags come after it, settings from VECSERVE_* too. It becomes the server, which so gets SIGTERM.
set -eu

exec vecserve serve "$@"
