"""The local S3 service with atomic writes: a program, with the options of `moto.server`.

moto looks at the condition of a conditional write first and writes then, and lets other requests in between,
so of two writers both may win. A real service lets one win.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moto.s3.responses import S3Response
from moto.server import main

from tests.s3_server import _make_bucket

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def running_serial_s3_server() -> Iterator[str]:
    """Start the service with one bucket; the value is its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.serial_s3", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parent.parent,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _make_bucket(server, address)
        yield address
    finally:
        server.terminate()
        server.wait(10)


def let_writes_queue() -> None:
    """Let one request that writes an object in at a time."""
    writing = threading.Lock()
    write = S3Response._key_response_put

    def write_alone(self: S3Response, *args: Any, **kwargs: Any) -> Any:
        with writing:
            return write(self, *args, **kwargs)

    S3Response._key_response_put = write_alone  # type: ignore[method-assign]


if __name__ == "__main__":
    let_writes_queue()
    main(sys.argv[1:])
