"""The local S3 service with atomic writes: a program, with the options of `moto.server`.

moto looks at the condition of a conditional write first and writes then, and lets other requests in between,
so of two writers both may win. A real service lets one win.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from moto.s3.responses import S3Response
from moto.server import main


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
