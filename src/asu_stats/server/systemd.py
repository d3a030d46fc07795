"""Messages to systemd: ready, stopping, and the heartbeat of its watchdog (sd_notify(3)).

Without systemd, nothing is sent.
"""

import os
import socket
from typing import Final

_MICROSECONDS: Final = 1_000_000


def notify(message: str) -> None:
    """Send a message such as `READY=1`, if systemd waits for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    name = f"\0{address[1:]}" if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.connect(name)
            sender.sendall(message.encode())
        except OSError:  # systemd restarts what does not report
            return


def heartbeat_seconds() -> float | None:
    """Return the pause between heartbeats, half of the watchdog's limit; `None` without one."""
    is_for_this_process = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    limit = os.environ.get("WATCHDOG_USEC", "")
    return (
        int(limit) / _MICROSECONDS / 2
        if is_for_this_process and limit.isdecimal() and int(limit)
        else None
    )
