"""Header blocks: what is encoded is decoded on any connection, and what is none is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from lepret.eventstore.http2.headers import HeaderDecoder, HeadersUnreadable, encode_headers

names = strategies.binary(min_size=1, max_size=50)


@given(strategies.lists(strategies.tuples(names, strategies.binary(max_size=300)), max_size=20))
def test_what_is_encoded_is_decoded_whatever_came_before(
    headers: list[tuple[bytes, bytes]],
) -> None:
    decoder = HeaderDecoder()
    assert decoder.decode(encode_headers(headers)) == headers
    assert decoder.decode(encode_headers(headers)) == headers
    assert HeaderDecoder().decode(encode_headers(headers)) == headers


@pytest.mark.parametrize("block", ["80", "be", "400a", "ffffffffffffff", "3fe21f"])
def test_blocks_that_are_none_are_refused(block: str) -> None:
    with pytest.raises(HeadersUnreadable):
        HeaderDecoder().decode(bytes.fromhex(block))


def test_headers_larger_than_any_client_sends_are_refused() -> None:
    with pytest.raises(HeadersUnreadable):
        HeaderDecoder().decode(encode_headers([(b"x", b"y" * 40_000)]))
