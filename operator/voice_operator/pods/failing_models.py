"""Which models have failed lately, as the pods of a pool tell: its next calls begin with what is behind them."""

from datetime import datetime, timedelta

from voicesession.assignment import FailingModel, ModelFailed
from voicesession.provider_keys import Part

# As long as a pod passes one over in its own call.
PASS_OVER = timedelta(seconds=120)


class FailingModels:
    """Kept in memory alone: who forgets them pays with one slow turn."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str, Part], datetime] = {}  # by pool, provider and part; by the steady clock

    def note(self, pool: str, event: ModelFailed, now: datetime, wall: datetime) -> None:
        """Takes in what a pod of the pool has told; `now` is by the steady clock, `wall` by everybody's.

        It may be old: a pod tells everything again to an operator that is new.
        """
        left = PASS_OVER - max(timedelta(0), wall - event.at)
        if left <= timedelta(0):
            return
        self._until = {key: until for key, until in self._until.items() if until > now}
        self._until[pool, event.provider, event.part] = now + left

    def list_failing(self, pool: str, now: datetime) -> list[FailingModel]:
        """Returns the pool's models that have failed lately."""
        return [
            FailingModel(provider=provider, part=part)
            for (of_pool, provider, part), until in self._until.items()
            if of_pool == pool and until > now
        ]
