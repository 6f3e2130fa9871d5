"""The connections of a conversation, which end with it: a client's own limits hold between two bytes only.

A server that sends its headers a byte at a time keeps any client waiting for as long as it likes.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from typing import Any


class Line:
    """Shuts every connection that was made under it as soon as `seconds` are over. Use it in a `with`."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._shut)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._over = False

    def __enter__(self) -> Line:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._sockets.clear()

    def heard(self, event: str, facts: Mapping[str, Any]) -> None:
        """What httpcore tells of its doings, as a request's extension `trace`."""
        if event not in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            return
        made = facts["return_value"].get_extra_info("socket")
        if made is None:
            return
        with self._lock:
            self._sockets.append(made)
        if self._over:
            self._shut()

    def _shut(self) -> None:
        self._over = True
        with self._lock:
            for made in self._sockets:
                with contextlib.suppress(OSError):  # closed already, or handed over to TLS
                    socket.socket.shutdown(
                        made, socket.SHUT_RDWR
                    )  # TLS's own would change it under its reader
