"""Whether a refusal of the API server is about the object that was sent, or about who asks, and when. Pure."""

import re

from kube.client import ForbiddenError, KubernetesError, ServerError

_BROKEN_RULE = {400, 422}
# As quotas, admission policies and admission webhooks say it, by whatever status. Missing rights have other words.
_DENIED = re.compile(r"\bquota\b|\bdenied (the )?request\b")

# As a ResourceQuota says it, and no webhook that speaks of quotas, too.
_QUOTA = re.compile(r"\b(exceeded|failed) quota: ")


def is_quota(error: KubernetesError | ServerError) -> bool:
    """Tells whether a ResourceQuota is against the object."""
    return isinstance(error, ForbiddenError) and _QUOTA.search(error.message) is not None


def is_about_the_object(error: KubernetesError) -> bool:
    """Tells whether this one object is not wanted: it breaks a rule, or a quota or an admission policy is against it.

    Everything else, credentials or rights for example, would meet any object, and somebody may be putting it right.
    """
    return error.status in _BROKEN_RULE or _DENIED.search(error.message) is not None
