from __future__ import annotations

import ipaddress
import socket

from hosting.backends import servers


def test_a_server_of_ours_listens_where_only_this_machine_reaches_it() -> None:
    address, port = servers._free_place()
    assert ipaddress.ip_address(address).is_loopback
    with socket.create_server((address, port)):
        pass


def test_nobody_can_guess_where_it_listens() -> None:
    addresses = {servers._free_place()[0] for _ in range(50)}
    assert len(addresses) > 45
    assert not {address for address in addresses if address.startswith("127.0.0.")}
