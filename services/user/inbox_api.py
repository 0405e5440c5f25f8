"""Notifications as their user reads them: in pages, or as they come."""

from collections.abc import AsyncIterator

from astra.user.v1 import user_service_pb2 as pb

from services.runtime.call import Call
from services.runtime.errors import InvalidArgument
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store
from services.runtime.watching import watch
from services.user import notifications
from services.user.model import NotificationKind


class InboxApi:
    """Serves ListNotifications and WatchNotifications."""

    _store: Store

    async def list_notifications(
        self, request: pb.ListNotificationsRequest, call: Call
    ) -> pb.ListNotificationsResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, int)
        kinds = [_kind(number) for number in request.kinds]
        rows = await self._store.read(
            lambda db: notifications.newest(db, request.user_id, kinds, before=key[0] if key else None, limit=size + 1)
        )
        return pb.ListNotificationsResponse(
            notifications=map(notifications.message, rows[:size]),
            next_page_token=page_token(rows[size - 1]["number"]) if len(rows) > size else "",
        )

    async def watch_notifications(
        self, request: pb.WatchNotificationsRequest, call: Call
    ) -> AsyncIterator[pb.WatchNotificationsResponse]:
        start = _position(request.resume_token)
        if start is None:
            start = self._store.read_now(notifications.last_number)
        news = watch(self._store, lambda db, after: notifications.after(db, request.user_id, after), start)
        async for number, notification in news:
            yield pb.WatchNotificationsResponse(notification=notification, resume_token=page_token(number))


def _position(resume_token: str) -> int | None:
    try:
        key = page_key(resume_token, int)
    except InvalidArgument:
        raise InvalidArgument("resume_token is not one that this stream returned", field="resume_token") from None
    return key[0] if key else None


def _kind(number: int) -> NotificationKind:
    try:
        return NotificationKind(number)
    except ValueError:
        raise InvalidArgument(f"there is no kind {number} of notification", field="kinds") from None
