"""The benchmarks' control plane: which addresses its pods have."""

import ipaddress

from benchmarks.control_plane import ADDRESSES_OF_NODE, NODES, build_networks


def test_the_nodes_pods_have_networks_of_their_own_in_one_part_of_loopback() -> None:
    networks = [ipaddress.IPv4Network(each) for each in build_networks("127.16")]
    assert [each.num_addresses for each in networks] == [ADDRESSES_OF_NODE] * NODES
    assert all(each.subnet_of(ipaddress.IPv4Network("127.16.0.0/16")) for each in networks)
    assert not any(one.overlaps(other) for one in networks for other in networks if one is not other)
