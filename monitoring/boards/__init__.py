"""The dashboards."""

from monitoring.boards.bus import EVENT_BUS
from monitoring.boards.business import KPIS
from monitoring.boards.performance import PERFORMANCE
from monitoring.boards.services import SERVICES

BOARDS = (EVENT_BUS, KPIS, PERFORMANCE, SERVICES)
