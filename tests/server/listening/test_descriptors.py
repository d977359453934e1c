import subprocess
import sys

import pytest

PROGRAM = """
import logging, resource
from vecserve_server.listening.descriptors import allow_connections
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
logging.basicConfig(format="%(message)s")
allow_connections(1000)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(("soft", "hard", "after"), [(100, 2000, 1256), (100, 500, 500), (1500, 2000, 1500)])
def test_the_limit_is_raised_to_what_connections_need_or_to_what_is_allowed(soft: int, hard: int, after: int) -> None:
    command = [sys.executable, "-c", PROGRAM.format(soft=soft, hard=hard)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert int(done.stdout) == after
    assert ("too few for --max-connections 1000" in done.stderr) is (after == hard)
