"""A process that buys a listing, or carries on what another left behind.

`python -m tests.unit_nft.selling MESH_JSON CLOCK_AHEAD_MS [LISTING_ID]`: with a listing, bob buys it; without one, the
process does what there is to do and ends.
"""

import asyncio
import sys
from pathlib import Path

from astra.nft.v1 import nft_service_pb2 as pb
from astra.nft.v1.nft_service_pb2_grpc import NftServiceStub

from services import nft
from services.mesh import Mesh
from services.runtime.clock import wall_clock
from tests.serving import as_user, serving
from tests.settling import settle


async def main(mesh: str, ahead_ms: str, listing_id: str = "") -> None:
    domain = nft.build(Mesh.load(Path(mesh)), clock=lambda: wall_clock() + int(ahead_ms))
    async with serving(domain) as channel:
        if listing_id:
            await NftServiceStub(channel).BuyNft(pb.BuyNftRequest(listing_id=listing_id), metadata=as_user("bob"))
        await settle(domain)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
