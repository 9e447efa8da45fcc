"""Tells where the cluster's CRDs are older than this release: what they lack is dropped by the API server, silently."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from kube.client import KubernetesApi, KubernetesError, KubernetesUnavailableError
from voicesession.fields import MODELS, find_missing
from voicesession.names import GROUP, VERSION

# Until the CRDs are looked at again: somebody may upgrade them after us. And when there was no answer.
PAUSE_SECONDS = 300.0
RETRY_SECONDS = 15.0

log = logging.getLogger(__name__)


async def tell_of_older_crds(
    kubernetes: KubernetesApi, on_look: Callable[[list[str]], object] = lambda _: None
) -> None:
    """Says in the log what the CRDs lack whenever that is something else, and returns when they lack nothing.

    `on_look`: is told it at each look.
    """
    told: list[str] = []
    while True:
        try:
            missing = await list_missing(kubernetes)
        except (KubernetesError, KubernetesUnavailableError, KeyError) as error:
            log.warning("cannot look at the CRDs", extra={"error": error})
            await asyncio.sleep(RETRY_SECONDS)
            continue
        on_look(missing)
        if missing != told:
            _tell(missing)
        if not missing:
            return
        told = missing
        await asyncio.sleep(PAUSE_SECONDS)


async def list_missing(kubernetes: KubernetesApi) -> list[str]:
    """Returns what the CRDs lack: KIND.spec.FIELD, or KIND where it is not served at all.

    By the API's own description, which every account may read; CRDs are nobody's in a namespace.

    Raises:
        KubernetesError: it was refused.
        KubernetesUnavailableError: there was no answer.
    """
    paths = (await kubernetes.request("GET", "/openapi/v3"))["paths"]
    ours = paths.get(f"apis/{GROUP}/{VERSION}")
    if ours is None:
        return sorted(MODELS)
    description = await kubernetes.request("GET", ours["serverRelativeURL"])
    # To walk through all models takes a tenth of a second.
    return await asyncio.to_thread(_compare, description["components"]["schemas"])


def _compare(schemas: dict[str, Any]) -> list[str]:
    served = {_kind_of(schema): schema for schema in schemas.values()}
    lacking = [
        f"{kind}.{path}" for kind in sorted(MODELS) if kind in served for path in find_missing(kind, served[kind])
    ]
    return sorted(MODELS.keys() - served.keys()) + lacking


def _kind_of(schema: dict[str, Any]) -> str | None:
    """Returns the kind of ours that a schema is of; None where it is of none."""
    kinds = schema.get("x-kubernetes-group-version-kind") or [{}]
    return kinds[0].get("kind") if kinds[0].get("group") == GROUP else None


def _tell(missing: list[str]) -> None:
    if not missing:
        log.info("the CRDs are as this release wants them")
    elif any(kind in MODELS for kind in missing):
        log.error("CRDs are missing: install the chart voice-agent-crds of this release", extra={"missing": missing})
    else:
        log.warning(
            "the CRDs are older than this release, and drop what they do not know: "
            "upgrade the chart voice-agent-crds to this release",
            extra={"missing": missing},
        )
