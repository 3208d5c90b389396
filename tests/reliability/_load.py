"""Other work on the machine: processes that do nothing but count."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep processes busy as long as the context lasts.

    Args:
        count: how many.
    """
    # They end with this process, however it ends: their standard input closes.
    code = "import sys, threading; threading.Thread(target=lambda: sys.stdin.read() or __import__('os')._exit(0))"
    code += ".start()\nwhile True: pass"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()
