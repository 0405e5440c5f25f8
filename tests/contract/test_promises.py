"""What can be told from descriptors and code alone: every public rpc has a route, every group its streams."""

import pytest

from bridge.groups import routes
from services.contracts import events, rpcs
from tests.contract.promises import astray, groups, unrouted


def test_every_public_rpc_has_a_rest_route() -> None:
    assert unrouted(rpcs().values()) == []


@pytest.mark.parametrize("name", groups())
def test_a_group_reads_streams_of_the_catalogue(name: str) -> None:
    domain, group = groups()[name]
    assert set(routes(group, domain)) <= set(events())


def test_a_bus_that_differs_from_the_code_is_told_by_name() -> None:
    """The control: a group that is missing somewhere, one on a stream it does not read, one that nobody knows."""
    found = {"revenue_trackers": groups()["revenue_trackers"]}
    attached = {"revenue_trackers": ["astra.trading.nowhere.v1"], "strangers": ["astra.trading.trade_executed.v1"]}
    wrong = astray(attached, found)
    assert "revenue_trackers is not on astra.trading.trade_executed.v1" in wrong
    assert "revenue_trackers is on astra.trading.nowhere.v1, which it does not read" in wrong
    assert "strangers is on astra.trading.trade_executed.v1, which it does not read" in wrong
