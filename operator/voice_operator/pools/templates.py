"""What a pool's pods are made of now, and its hash, by which a pod shows whether it is up to date."""

from voice_operator.pools.pod_template import PodBasis, Raw, build_agent_pod, build_template, hash_template
from voicesession.models import AgentPool
from voicesession.pod_seal import new_pod_key


class Templates:
    """The templates of all pools. A hash is computed once for each generation of its pool: every claim asks for it."""

    def __init__(self, basis: PodBasis) -> None:
        self._basis = basis
        self._hashes: dict[str, tuple[str, int, str]] = {}  # uid, generation and hash, by pool name

    def build_pod(self, pool: AgentPool) -> Raw:
        """Returns an unassigned pod of this pool, to be created."""
        return build_agent_pod(pool, self._basis, new_pod_key())

    def hash_of(self, pool: AgentPool) -> str:
        """Returns the hash of what a pod of this pool would be made of now."""
        metadata = pool.metadata
        held = self._hashes.get(metadata.name)
        if held is None or held[:2] != (metadata.uid, metadata.generation):
            template = build_template(pool, self._basis)
            held = (metadata.uid, metadata.generation, hash_template(template))
            self._hashes[metadata.name] = held
        return held[2]

    def forget(self, pool: str) -> None:
        """Drops what is remembered of a pool of this name."""
        self._hashes.pop(pool, None)
