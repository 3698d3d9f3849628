"""A local S3 service for tests, and a proxy before it that misbehaves on request.

The service is moto's server in a process of its own. The proxy passes requests on, notes them, and can lose
a request, lose the answer to one that was carried out, answer with an error status, break off in the middle
of a body, or wait.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from icechunk.storage import s3_storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icechunk.storage import Storage

BUCKET = "testbucket"
_PATIENCE = 60.0
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/s3/aws4_request"}
"""Headers of a request that this service takes for a signed one."""


@contextlib.contextmanager
def running_s3_server() -> Iterator[str]:
    """Start the service with one bucket; the value is its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.serial_s3", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _make_bucket(server, address)
        yield address
    finally:
        server.terminate()
        server.wait(10)


def _make_bucket(server: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            request = urllib.request.Request(f"{address}/{BUCKET}", method="PUT", headers=SIGNED)
            with urllib.request.urlopen(request, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def s3_at(address: str, prefix: str, **options: Any) -> Storage:
    """A storage in the bucket of the service, or proxy, at an address."""
    return s3_storage(
        bucket=BUCKET,
        prefix=prefix.lstrip("/"),
        endpoint_url=address,
        allow_http=True,
        access_key_id="test",
        secret_access_key="test",
        **options,
    )


@dataclass
class Fault:
    """What the proxy does to the next `times` requests of a method whose path ends with `key`.

    `kind` is one of "lose-request" (close the connection, tell the service nothing), "lose-answer" (tell
    the service, close the connection), "status" (answer `status`, tell the service nothing), "status-after"
    (tell the service, then answer `status`), "cut-body" (send half of the body) and "stall" (send half,
    then nothing for `seconds`).
    """

    kind: str
    method: str
    key: str
    times: int = 1
    status: int = 503
    seconds: float = 0.0


@dataclass
class Proxy:
    """The address of the proxy, what it was asked, and the faults that it has in store."""

    address: str
    requests: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def next_fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and path.endswith(fault.key):
                fault.times -= 1
                return fault
        return None


@contextlib.contextmanager
def running_proxy(target: str) -> Iterator[Proxy]:
    """Start a proxy before the service at `target`, on threads of this process."""
    lock = threading.Lock()
    host = target.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            with lock:
                proxy.requests.append((self.command, path))
                proxy.headers.append({name.lower(): value for name, value in self.headers.items()})
                fault = proxy.next_fault(self.command, path)
            kind = fault.kind if fault else ""
            if fault and kind == "status":
                code = b"AccessDenied" if fault.status == 403 else b"SlowDown"
                return self.answer(fault.status, [], b"<Error><Code>%s</Code></Error>" % code)
            if kind == "lose-request":
                return self.hang_up()
            upstream = http.client.HTTPConnection(host, timeout=_PATIENCE)
            with contextlib.closing(upstream):
                upstream.request(self.command, self.path, body, dict(self.headers.items()))
                response = upstream.getresponse()
                content = response.read()
            if kind == "lose-answer":
                return self.hang_up()
            if fault and kind == "status-after":
                return self.answer(fault.status, [], b"<Error><Code>InternalError</Code></Error>")
            if fault and kind in ("cut-body", "stall"):
                self.answer(response.status, response.getheaders(), content, sent=len(content) // 2)
                time.sleep(fault.seconds)
                return self.hang_up()
            return self.answer(response.status, response.getheaders(), content)

        def answer(
            self, status: int, headers: list[tuple[str, str]], content: bytes, sent: int | None = None
        ) -> None:
            self.send_response(status)
            lengths = [value for name, value in headers if name.lower() == "content-length"]
            for name, value in headers:
                if name.lower() not in (
                    "content-length",
                    "transfer-encoding",
                    "connection",
                    "date",
                    "server",
                ):
                    self.send_header(name, value)
            length = lengths[0] if self.command == "HEAD" and lengths else str(len(content))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[:sent])
                self.wfile.flush()

        def hang_up(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: tests read `requests`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = Proxy(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
