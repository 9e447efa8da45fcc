"""Kubernetes' amounts of memory as bytes. Pure."""

from kubernetes.utils.quantity import parse_quantity


def read_bytes(amount: str) -> int:
    """Returns an amount such as 120Mi in bytes.

    Raises:
        ValueError: it is none.
    """
    return int(parse_quantity(amount))
