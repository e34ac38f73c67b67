"""Fixtures of the tests of feature extraction."""

import pytest
import torch  # noqa: TID253 - its threads are set


@pytest.fixture(scope="module")
def one_thread():
    """Networks this small wait for their threads more than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
