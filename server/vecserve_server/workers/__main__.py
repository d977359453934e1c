"""`python -m vecserve_server.workers FD`: one worker. Its supervisor starts it; it is no command for people."""

import sys

from vecserve_server.workers.worker import main

sys.exit(main(int(sys.argv[1])))
