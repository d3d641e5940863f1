"""Choosing the network interface of a worker group."""

from frostline.search.tune import groups


def test_the_interface_is_the_one_that_the_nodes_address_is_on() -> None:
    interfaces = {"lo": ["127.0.0.1", "::1"], "eth0": ["10.0.0.7", "fe80::1"], "docker0": ["172.17.0.1"]}
    assert groups.interface("10.0.0.7", interfaces) == "eth0"
    assert groups.interface("127.0.0.1", interfaces) == "lo", "a private Ray on one machine"
    assert groups.interface("203.0.113.9", interfaces) is None, "an address that is translated: gloo finds its own way"
