"""What labels may say: names, and no more of them than Prometheus is to keep series for."""

import re

# In place of a name beyond the most, and of what is no name.
OTHER = "other"
# Where nobody has told a name.
UNKNOWN = "unknown"
# No blank in it: what somebody has said is no name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,99}")


class LabelNames:
    """The values of one label, or of several that belong together: the first so many that come, then OTHER."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[tuple[str, ...]] = set()

    def bound(self, *names: str) -> tuple[str, ...]:
        """Returns the values for these names."""
        if names in self._known:
            return names
        told = tuple(name or UNKNOWN for name in names)
        if told in self._known:
            return told
        if len(self._known) >= self._most or not all(_NAME.fullmatch(name) for name in told):
            return tuple(OTHER for _ in names)
        self._known.add(told)
        return told


# Shared by all metrics, so that one profile has one name in all of them.
PROFILES = LabelNames(50)
POOLS = LabelNames(50)
# A provider, and a model of its.
MODELS = LabelNames(50)
PROVIDERS = LabelNames(50)
