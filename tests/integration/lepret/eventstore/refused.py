"""Calls that the server must refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest


@contextmanager
def refused(code: grpc.StatusCode) -> Iterator[pytest.ExceptionInfo[grpc.RpcError]]:
    """The call in the block must end with this status."""
    with pytest.raises(grpc.RpcError) as error:
        yield error
    assert error.value.code() is code
