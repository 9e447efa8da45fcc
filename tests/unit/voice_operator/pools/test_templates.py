"""A pod shows by a hash whether it is made as its pool says now."""

from testing.operator_objects import make_pool
from voice_operator.pools.pod_template import PodBasis
from voice_operator.pools.templates import Templates
from voicesession.names import TEMPLATE_LABEL


def test_a_pods_label_is_the_hash_of_its_pool_until_the_pool_changes() -> None:
    templates = Templates(PodBasis("a key"))
    pool = make_pool()
    label = templates.build_pod(pool)["metadata"]["labels"][TEMPLATE_LABEL]
    assert templates.hash_of(pool) == label
    changed = make_pool(generation=2, image="agent:2")
    assert templates.hash_of(changed) != label
    assert templates.build_pod(changed)["metadata"]["labels"][TEMPLATE_LABEL] == templates.hash_of(changed)


def test_pods_that_know_another_key_are_out_of_date() -> None:
    assert Templates(PodBasis("a key")).hash_of(make_pool()) != Templates(PodBasis("another")).hash_of(make_pool())
