"""The Huffman code of HPACK (RFC 7541, appendix B)."""

from functools import lru_cache

# The code is canonical: how long the code of each byte is tells the codes. The last is the end-of-string mark.
_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b08060606"
    "0505050606060606060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c14161414161616171617171717171817"
    "181816171817171717151617161717181615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14181415161515171616191918181a17"
    "1a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a1e"
)
_END = 256
_SHORTEST = 5


def _codes() -> dict[tuple[int, int], int]:
    """Returns the symbol of each length and code."""
    symbols = {}
    code, length = 0, _SHORTEST
    for symbol in sorted(range(len(_LENGTHS)), key=lambda symbol: (_LENGTHS[symbol], symbol)):
        code <<= _LENGTHS[symbol] - length
        length = _LENGTHS[symbol]
        symbols[length, code] = symbol
        code += 1
    return symbols


_SYMBOLS = _codes()


class BadHuffman(ValueError):
    """The bytes are no Huffman code."""


@lru_cache(maxsize=1024)
def decoded(data: bytes) -> bytes:
    """Returns the bytes a Huffman code stands for. Peers send the same strings again and again, so they are kept.

    Raises:
        BadHuffman: the code holds the end-of-string mark, or ends with more or other bits than padding may have.
    """
    out = bytearray()
    code = length = 0
    for byte in data:
        for shift in (7, 6, 5, 4, 3, 2, 1, 0):
            code = code << 1 | byte >> shift & 1
            length += 1
            if length < _SHORTEST:
                continue
            symbol = _SYMBOLS.get((length, code))
            if symbol is None:
                continue
            if symbol == _END:
                raise BadHuffman("the end-of-string mark in a string")
            out.append(symbol)
            code = length = 0
    if length > 7 or code != (1 << length) - 1:
        raise BadHuffman("a string that does not end with padding")
    return bytes(out)
