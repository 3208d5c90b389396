"""How often a training of SmartTrainer in two processes ends as it should: with exit status 0 and the same weights."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.reliability._load import busy_processes

ROOT = Path(__file__).parents[2]


def run(argv: Sequence[str]) -> int:
    """Measure, print each run with what a failed one wrote, and then the count."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability torchrun", description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--busy", type=int, default=0, help="busy processes beside")
    options = parser.parse_args(argv)
    with busy_processes(options.busy):
        ends = [_end_of_a_run(number) for number in range(1, options.runs + 1)]
    right = sum(end == (0, ends[0][1]) for end in ends)
    print(f"{right} of {options.runs} runs ended with 0 and with the weights of the first")
    return 0 if right == options.runs else 1


def _end_of_a_run(number: int) -> tuple[int, str]:
    """Give the exit status of a run, and one hash of all weights that it wrote."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, "-m", "tests.smart.torchrun_worker", folder], cwd=ROOT, capture_output=True, text=True
        )
        files = sorted(Path(folder).glob("*.safetensors"))
        weights = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    print(f"run {number}: exit {done.returncode}, {time.monotonic() - started:.0f} s", flush=True)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-6000:], flush=True)
    return done.returncode, weights
