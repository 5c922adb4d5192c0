"""Memory that walks hand on to each other, and pages that the allocator keeps."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from reluxfast.relevance.spare import Spare

FAULTS = """
import resource
import torch
from reluxfast.relevance.spare import keep_freed_pages

def touch():
    blocks = [torch.ones(5 << 20) for _ in range(2)]  # 20 MiB each

keep_freed_pages()
for _ in range(3):  # until both blocks have found their places
    touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_hands_on_what_is_alike():
    spare = Spare(1 << 20)
    like = torch.zeros(2, 3, 4, 5)
    last = like.to(memory_format=torch.channels_last)
    given = torch.empty_like(last)
    spare.give(given)
    assert spare.take(like, torch.float32).data_ptr() != given.data_ptr()
    assert spare.take(last, torch.uint8).dtype == torch.uint8
    assert spare.take(last[:1], torch.float32).shape == (1, 3, 4, 5)
    taken = spare.take(last, torch.float32)
    assert taken.data_ptr() == given.data_ptr() and taken.stride() == last.stride()
    # It is somebody's now.
    assert spare.take(last, torch.float32).data_ptr() != given.data_ptr()


def test_holds_no_more_than_its_limit():
    spare = Spare(1000)
    first, second = torch.zeros(200), torch.zeros(200)
    spare.give(first)
    spare.give(second)
    assert spare.take(first, torch.float32).data_ptr() == first.data_ptr()
    assert spare.take(first, torch.float32).data_ptr() not in (first.data_ptr(), second.data_ptr())
    spare.give(second)
    assert spare.take(first, torch.float32).data_ptr() == second.data_ptr()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the thresholds are glibc's")
def test_freed_pages_are_kept():
    done = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    # One block may move once more, in pages of 4 KiB; given back, all of them fault: 10 times 40 MiB, 100,000 pages.
    assert int(done.stdout) < 6000
