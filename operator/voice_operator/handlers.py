"""The index of what the operator listens to. Each registration hands over at once; nothing is decided here."""

import itertools
from collections.abc import Iterator
from typing import Any

import kopf

from voice_operator.app import Operator
from voice_operator.cache import PODS
from voice_operator.kopf_events import hand_events_to
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, GROUP, POOL_LABEL, VERSION, VOICE_SESSIONS


@kopf.on.startup(errors=kopf.ErrorsMode.PERMANENT)
async def start(memo: kopf.Memo, settings: kopf.OperatorSettings, **_: Any) -> None:
    """Starts the operator; the watches begin when this returns."""
    configure(settings)
    operator: Operator = memo.operator
    await operator.start()


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """Stops the operator; the watches have ended before."""
    operator: Operator = memo.operator
    await operator.stop()


@kopf.on.login()
async def login(memo: kopf.Memo, **_: Any) -> kopf.ConnectionInfo:
    """Logs in as the operator's own client does; called again when the credentials have expired."""
    operator: Operator = memo.operator
    connection = await operator.connection()
    return kopf.ConnectionInfo(
        server=connection.server,
        ca_path=connection.ca_path,
        certificate_path=connection.certificate_path,
        private_key_path=connection.private_key_path,
        token=connection.token,
    )


@kopf.on.event(GROUP, VERSION, VOICE_SESSIONS)
@kopf.on.event(GROUP, VERSION, AGENT_POOLS)
@kopf.on.event(GROUP, VERSION, AGENT_PROFILES)
@kopf.on.event("", "v1", PODS)
async def see(memo: kopf.Memo, resource: kopf.Resource, event: kopf.RawEvent, **_: Any) -> None:
    """An object of ours, or an agent pod, came, changed or went."""
    memo.operator.see(resource.plural, event["type"], event["object"])


def configure(settings: kopf.OperatorSettings) -> None:
    """Keeps kopf to watching: no Events, no annotations, no finalizers, no look at other kinds."""
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.label_selectors["", "v1", PODS] = POOL_LABEL
    # A watch that dies without a word is noticed after this; the API server sends a bookmark every minute.
    settings.watching.inactivity_timeout = 70
    settings.watching.connect_timeout = 5
    settings.watching.chunk_size = 250
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = EndlessBackoff()


hand_events_to(see)


class EndlessBackoff:
    """Seconds between kopf's tries, for ever: giving up would end the operator in an outage that it can outlive."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.2, 0.5, 1.0), itertools.repeat(2.0))
