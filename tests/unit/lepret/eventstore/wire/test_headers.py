"""Header blocks: any connection decodes an encoded block, and refuses an invalid one."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given, strategies

from lepret.eventstore.wire.http2.headers import HeaderDecoder, HeadersUnreadable, encode_headers

names = strategies.binary(min_size=1, max_size=50)


@given(strategies.lists(strategies.tuples(names, strategies.binary(max_size=300)), max_size=20))
def test_any_decoder_decodes_an_encoded_block(
    headers: list[tuple[bytes, bytes]],
) -> None:
    decoder = HeaderDecoder()
    assert decoder.decode(encode_headers(headers)) == headers
    assert decoder.decode(encode_headers(headers)) == headers
    assert HeaderDecoder().decode(encode_headers(headers)) == headers


few_headers = strategies.tuples(
    strategies.sampled_from([b":path", b"grpc-timeout", b"a"]),
    strategies.sampled_from([b"1S", b"2S", b"", b"x" * 40]),
)


@given(
    strategies.lists(
        strategies.lists(few_headers, max_size=6) | strategies.sampled_from([0, 60, 120, 4096]),
        max_size=30,
    )
)
def test_repeated_headers_are_decoded_alike(
    steps: list[list[tuple[bytes, bytes]] | int],
) -> None:
    """The client's header table may change in between."""
    encoder, decoder = hpack.Encoder(), HeaderDecoder()
    for headers in steps:
        if isinstance(headers, int):
            # The encoder does not announce a size that is the same as before.
            if headers != encoder.header_table_size:
                encoder.header_table_size = headers
            continue
        for sent in (headers, headers):
            assert decoder.decode(encoder.encode(sent, huffman=False)) == sent


@pytest.mark.parametrize("block", ["80", "be", "400a", "ffffffffffffff", "3fe21f"])
def test_invalid_blocks_are_refused(block: str) -> None:
    with pytest.raises(HeadersUnreadable):
        HeaderDecoder().decode(bytes.fromhex(block))


def test_headers_larger_than_any_client_sends_are_refused() -> None:
    with pytest.raises(HeadersUnreadable):
        HeaderDecoder().decode(encode_headers([(b"x", b"y" * 40_000)]))
