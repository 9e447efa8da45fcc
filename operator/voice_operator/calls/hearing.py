"""Which pods of calls are heard and which are silent, by node: whether they are lost, or this process is cut off."""

from collections import Counter

# So many, and a third of all: fewer may be a node's, or a few pods' own.
LEAST_SILENT = 3
_SHARE = 3


class Hearing:
    """Counts, kept up to date with each change: to look at them costs nothing, however many calls there are."""

    def __init__(self) -> None:
        self._heard: Counter[str] = Counter()  # by node
        self._silent: Counter[str] = Counter()
        self.lost_node: str | None = None  # where the operator fell silent that led before
        self._known: dict[str, tuple[str, bool]] = {}  # node, and whether it is silent, by the uid of its call

    def note(self, uid: str, node: str | None, *, silent: bool) -> None:
        """Takes in that the pod of this call is heard, or silent."""
        self.drop(uid)
        self._known[uid] = (node or "", silent)
        (self._silent if silent else self._heard)[node or ""] += 1
        if not silent and node == self.lost_node:
            self.lost_node = None

    def drop(self, uid: str) -> None:
        """Takes in that this call's pod is followed no more, or has not been heard yet."""
        known = self._known.pop(uid, None)
        if known is None:
            return
        node, silent = known
        counts = self._silent if silent else self._heard
        counts[node] -= 1
        if not counts[node]:
            del counts[node]

    @property
    def cut_off(self) -> bool:
        """Tells whether so many are silent at once that it is most likely this process whom nobody reaches.

        One node of which nothing is heard, while others are, is lost itself.
        """
        silent, heard = self._silent.total(), self._heard.total()
        if silent < LEAST_SILENT or silent * _SHARE < silent + heard:
            return False
        dark = self._silent.keys() - self._heard.keys()
        return not (len(dark) == 1 and heard)
