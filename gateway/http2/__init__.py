"""A lean gRPC client over HTTP/2: raw bytes in, raw bytes out, one event loop, no threads.

Bytes to frames: frames, huffman, hpack, reading. Frames to calls: connection (what arrives), sending and outlet (what
leaves, as far as windows reach), pulse (whether it lives), call and messages. Calls to a server: channel, and its
connections. How calls end: status. What it does not do (several servers behind a name, balancing, hedging, packing what
it sends) is Envoy's part here; `make bench-gateway` measures why it is there at all.
"""

from gateway.http2.call import Call
from gateway.http2.channel import Channel
from gateway.http2.connections import Security
from gateway.http2.limits import Limits
from gateway.http2.status import CallFailed, Unprocessed, Unreachable

__all__ = ["Call", "CallFailed", "Channel", "Limits", "Security", "Unprocessed", "Unreachable"]
