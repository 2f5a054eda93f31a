from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import io, json, sys
from hostbuild.layer import write_layer
from hostbuild.model import Entry

class Source(io.RawIOBase):
    def __init__(self, left):
        self.left = left
    def read(self, size=-1):
        size = min(size, self.left)
        self.left -= size
        return piece[:size]

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

count, size, threads = map(int, sys.argv[1:])
piece = bytes(range(256)) * 4096
entries = (
    Entry(f"f{number:08}", "file", 0o644, size=size, open=lambda: Source(size)) for number in range(count)
)
before = peak()
result = write_layer(entries, lambda data: None, threads=threads)
told = {"entries": result.entries, "size": result.diff_size, "grown": peak() - before, "all": peak()}
print(json.dumps(told))
"""


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize(("count", "size"), [(1, 300 << 20), (30_000, 100)])
def test_memory_does_not_grow_with_the_layer(count: int, size: int, threads: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(count), str(size), str(threads)]
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    assert told["entries"] == count
    assert told["size"] >= count * size
    # Kilobytes: two buffers a waiting piece and the compressors' own state.
    assert told["grown"] < (threads + 4) * 4096 + 8192
    assert told["all"] < 100 * 1024
