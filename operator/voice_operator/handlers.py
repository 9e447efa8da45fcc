"""The index of what the operator listens to. Each event is handed over at once; nothing is decided here."""

import asyncio
import itertools
from collections.abc import Collection, Iterator
from typing import Any

import kopf

from voice_operator.app import Operator
from voice_operator.backoff import Backoff
from voice_operator.cache import PODS
from voice_operator.kopf_events import Listener, listening, seeing, take_events
from voice_operator.lease import LOOK_SECONDS
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, GROUP, POOL_LABEL, VERSION, VOICE_SESSIONS

# Each login differs from those before: kopf gives up where it gets what the API server has refused, though a token that
# is refused while the API server starts is good a second later.
_logins = itertools.count()
_pauses = Backoff(first=0.1, longest=5.0)


@kopf.on.login()
async def login(memo: kopf.Memo, **_: Any) -> kopf.ConnectionInfo:
    """Logs in as the operator's own client does; called again when the API server has refused the credentials."""
    number = next(_logins)
    if number:
        await asyncio.sleep(_pauses.next())
    operator: Operator = memo.operator
    connection = await operator.connection()
    return kopf.ConnectionInfo(
        server=connection.server,
        ca_path=connection.ca_path,
        certificate_path=connection.certificate_path,
        private_key_path=connection.private_key_path,
        token=connection.token,
        priority=number,
    )


@kopf.on.event(GROUP, VERSION, VOICE_SESSIONS)
@kopf.on.event(GROUP, VERSION, AGENT_POOLS)
@kopf.on.event(GROUP, VERSION, AGENT_PROFILES)
@kopf.on.event("", "v1", PODS)
async def watch(**_: Any) -> None:
    """An object of ours, or an agent pod, came, changed or went: only for kopf to watch it, see `kopf_events`."""


async def start_watches(
    operator: Operator, listener: Listener, namespace: str, quiet_seconds: float
) -> Collection[asyncio.Task[None]]:
    """Starts kopf, and returns its tasks: they end when one of them does not go on, or when they are cancelled.

    Not by `kopf.operator`, which ends every task of the event loop with it. `quiet_seconds`: a watch that tells nothing
    for so long is asked for anew.
    """
    listening.set(listener)
    seeing.set(operator.see)
    return await kopf.spawn_tasks(
        namespaces=[namespace],
        standalone=True,
        settings=build_settings(quiet_seconds),
        memo=kopf.Memo(operator=operator),
    )


def build_settings(quiet_seconds: float) -> kopf.OperatorSettings:
    """Returns kopf's settings, which keep it to watching: no Events, annotations, finalizers, nor other kinds."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    # kopf kills the process so long after its end, though it is begun anew.
    settings.process.ultimate_exiting_timeout = None
    settings.watching.label_selectors["", "v1", PODS] = POOL_LABEL
    settings.watching.inactivity_timeout = quiet_seconds
    settings.watching.connect_timeout = 5
    settings.networking.request_timeout = 10
    settings.networking.error_backoffs = EndlessBackoff()
    return settings


take_events()


class EndlessBackoff:
    """Seconds between kopf's tries, for ever: giving up would end the watches in an outage that they can outlive.

    As short as the Lease's: when the API server is back, calls wait for both.
    """

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.2,), itertools.repeat(LOOK_SECONDS))
