"""A package index on loopback whose troubles can be chosen: cuts, slowness, no ranges, silence."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass
class FileRequest:
    """A request for a file: its name, where it was to start, how many bytes were sent, the answer."""

    filename: str
    start: int
    num_sent: int
    status: int


class PackageIndex:
    """A simple index (PEP 503) that serves what it is given.

    Args:
        files: project -> file name -> content.
        takes_ranges: whether a Range header is honoured.
        cuts: bytes after which the connection closes, for the first requests of files, one each.
        seconds_per_chunk: pause after every kilobyte.
        refuses_files: whether files are listed, but their download answered with 403.

    Example:
        with PackageIndex({"demo": {"demo-1.tar.gz": b"…"}}) as index:
            monkeypatch.setenv("PIP_INDEX_URL", index.url)
    """

    def __init__(
        self,
        files: dict[str, dict[str, bytes]],
        *,
        takes_ranges: bool = True,
        cuts: tuple[int, ...] = (),
        seconds_per_chunk: float = 0.0,
        refuses_files: bool = False,
    ) -> None:
        self.files = files
        self.takes_ranges = takes_ranges
        self.cuts = list(cuts)
        self.seconds_per_chunk = seconds_per_chunk
        self.refuses_files = refuses_files
        self.file_requests: list[FileRequest] = []
        self.project_requests: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.netloc}/simple/"

    def stop(self) -> None:
        """Close the port: from now on there is no network."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> PackageIndex:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _handler_of(index: PackageIndex) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            kind, _, rest = self.path.strip("/").partition("/")
            if kind == "simple" and rest in index.files:
                self._send_project(rest)
            elif kind == "files" and rest.partition("/")[2] in index.files.get(rest.partition("/")[0], {}):
                self._send_file(*rest.split("/", 1))
            else:
                self.send_error(404)

        def log_message(self, *arguments: object) -> None:
            pass

        def _send_project(self, project: str) -> None:
            index.project_requests.append(project)
            links = [
                f'<a href="/files/{project}/{name}#sha256={hashlib.sha256(content).hexdigest()}">{name}</a>'
                for name, content in index.files[project].items()
            ]
            body = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _send_file(self, project: str, name: str) -> None:
            content = index.files[project][name]
            if index.refuses_files:
                index.file_requests.append(FileRequest(name, 0, 0, 403))
                return self.send_error(403)
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(asked[1]) if asked and index.takes_ranges else 0
            if start >= len(content):
                index.file_requests.append(FileRequest(name, start, 0, 416))
                return self.send_error(416)
            status = 206 if start else 200
            request = FileRequest(name, start, 0, status)
            index.file_requests.append(request)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            end = min(len(content), start + index.cuts.pop(0)) if index.cuts else len(content)
            position = start
            try:
                while position < end:
                    chunk = content[position : min(position + 1024, end)]
                    position += len(chunk)
                    request.num_sent += len(chunk)
                    self.wfile.write(chunk)
                    time.sleep(index.seconds_per_chunk)
            except OSError:
                pass  # whoever asked is gone
            self.close_connection = end < len(content) or position < end

    return Handler
