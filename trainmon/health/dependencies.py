"""What the site depends on, each asked within a short time: none can hang the probe."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from channels.layers import get_channel_layer

from streaming.publish import in_process
from trainmon.health import facts
from trainmon.health.asking import Asked, Hanging, in_thread, within
from trainmon.health.standing import Known, Standing, State

#: Seconds that the database, and that bus and broker may take.
DATABASE, BUS = 4.0, 2.0
#: What no page can be served without; all else is missed, and the site goes on.
VITAL = ("database",)
OF_DATABASE = ("worker", "janitor", "follower", "tensorboards")


class Dependencies:
    """Those of this process."""

    def __init__(self) -> None:
        self.known = Known()
        self.database = Asked(lambda: in_thread(facts.look, "health: database"), DATABASE)
        self.layer = Asked(lambda: within(BUS, _layer()), BUS + 0.5)
        self.broker = Asked(lambda: in_thread(_broker, "health: broker"), BUS)

    async def look(self) -> dict[str, Standing]:
        """How each stands, asked at the same time."""
        database, layer, broker = await asyncio.gather(
            self._of_database(), _or_down(self.layer.answer()), _or_down(self.broker.answer()))
        found = {"database": database.pop("database"), "layer": layer, "broker": broker, **database}
        return {name: self.known.take(name, one) for name, one in found.items()}

    async def _of_database(self) -> dict[str, Standing]:
        try:
            return dict(await self.database.answer())
        except Exception as error:
            unknown = Standing(State.UNKNOWN, "the database does not answer")
            return {"database": _down(error), **dict.fromkeys(OF_DATABASE, unknown)}


async def _or_down(answer: Awaitable[Standing]) -> Standing:
    try:
        return await answer
    except Exception as error:
        return _down(error)


def _down(error: Exception) -> Standing:
    said = str(error).strip() or type(error).__name__
    return Standing(State.DOWN, said if isinstance(error, Hanging) else f"{type(error).__name__}: {said}"[:500])


async def _layer() -> Standing:
    """A message to nobody, by the same connection that carries the notices."""
    layer = get_channel_layer()
    assert layer is not None
    await layer.group_send("health", {"type": "health"})
    return Standing(State.OK, "there is no bus: pages look for changes every 2 s" if in_process() else "")


def _broker() -> Standing:
    """How many tasks wait."""
    from trainmon.celery import app

    with app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=BUS)
        with broker.channel() as channel:
            queues = (app.conf.task_default_queue, "janitor")
            waiting = sum(channel.queue_declare(queue=name, passive=False).message_count for name in queues)
    return Standing(State.OK, waiting=waiting)
