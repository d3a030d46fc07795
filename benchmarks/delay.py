"""A process between writers and PostgreSQL: `python -m benchmarks.delay PORT ROUND_TRIP_MS`.

It forwards TCP to a port of this machine, later by half a round trip in each direction. It prints
its own port, and runs until its standard input ends.
"""

import sys

from tests import servers


def main() -> None:
    """Forward until told to stop."""
    target, milliseconds = int(sys.argv[1]), float(sys.argv[2])
    with servers.proxy(target, milliseconds / 2_000) as proxy:
        print(proxy.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
