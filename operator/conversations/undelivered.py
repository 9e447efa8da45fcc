"""What agents could not write, kept in ConfigMaps until the database has it: one for each piece, its words encrypted.

A piece is named by what is in it, so that keeping it again changes nothing.
"""

import base64
import binascii
import contextlib
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kube.client import ConflictError, KubernetesApi, NotFoundError, Raw
from voicesession.names import ATTEMPT_ANNOTATION, ROWS_ANNOTATION, SESSION_LABEL, UNDELIVERED_LABEL
from voicesession.spool import SealedPiece, Spool

_KEY = "piece"


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A piece that is kept, without what is in it."""

    name: str
    session_id: str
    attempt: int
    rows: int
    kept_since: datetime


class UndeliveredPieces:
    """All that are kept in the namespace.

    Every method may raise KubernetesError or KubernetesUnavailableError.
    """

    def __init__(self, kubernetes: KubernetesApi) -> None:
        self._kubernetes = kubernetes

    async def keep(self, spool: Spool) -> None:
        """Keeps every piece; those that are kept already stay as they are."""
        for piece in spool.pieces:
            with contextlib.suppress(ConflictError):
                await self._kubernetes.create_config_map(build_config_map(spool, piece))

    async def list_all(self) -> list[Undelivered]:
        """Returns what is kept, the oldest first; what is none of ours is passed over."""
        listed = await self._kubernetes.list_config_map_metadata(f"{UNDELIVERED_LABEL}=true")
        found = [piece for metadata in listed if (piece := read_metadata(metadata))]
        return sorted(found, key=lambda piece: (piece.kept_since, piece.name))

    async def read(self, name: str) -> bytes | None:
        """Returns a piece as it was sealed; None where it is gone, nothing where it is none of ours."""
        try:
            config_map = await self._kubernetes.get_config_map(name)
            return base64.b64decode(config_map["binaryData"][_KEY], validate=True)
        except NotFoundError:
            return None
        except (KeyError, TypeError, binascii.Error):
            return b""

    async def remove(self, name: str) -> None:
        """Removes a piece; that it is gone already is no error."""
        with contextlib.suppress(NotFoundError):
            await self._kubernetes.delete_config_map(name)


def build_config_map(spool: Spool, piece: SealedPiece) -> Raw:
    """Returns the ConfigMap for a piece."""
    digest = hashlib.sha256(piece.data).hexdigest()[:12]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"undelivered-{spool.session_id}-{spool.attempt}-{digest}",
            "labels": {UNDELIVERED_LABEL: "true", SESSION_LABEL: spool.session_id},
            "annotations": {ATTEMPT_ANNOTATION: str(spool.attempt), ROWS_ANNOTATION: str(piece.rows)},
        },
        "immutable": True,
        "binaryData": {_KEY: base64.b64encode(piece.data).decode()},
    }


def read_metadata(metadata: dict[str, Any]) -> Undelivered | None:
    """Returns which piece a ConfigMap holds, or None where somebody else has made it."""
    try:
        return Undelivered(
            name=metadata["name"],
            session_id=metadata["labels"][SESSION_LABEL],
            attempt=int(metadata["annotations"][ATTEMPT_ANNOTATION]),
            rows=int(metadata["annotations"][ROWS_ANNOTATION]),
            kept_since=datetime.fromisoformat(metadata["creationTimestamp"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
