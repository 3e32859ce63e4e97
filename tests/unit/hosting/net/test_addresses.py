from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from hosting.net.addresses import is_public
from tests.support.properties import given
from tests.support.properties import strategies as st

INNER_NETWORKS = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 "
    "192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
    "224.0.0.0/4 240.0.0.0/4 168.63.129.16/32"
)
INNER = [ip_network(network) for network in INNER_NETWORKS.split()]
NOT_PUBLIC_ADDRESSES = (
    "::1 :: fc00::1 fdff::1 fe80::1 fe80::1%eth0 febf::1 fec0::1 feff::1 ff02::1 ff0e::1 100::1 "
    "64:ff9b:1::808:808 2001::1 2001:1::1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 "
    "2001:1ff::1 2002:808:808::1 3fff::1 3fff:fff::1 4000::1 5f00::1 2606:4700::1%1 "
    "::ffff:8.8.8.8%1 8.8.8.8%1 8.8.8 0x08080808 08.8.8.8 example.com"
)
PUBLIC_ADDRESSES = (
    "8.8.8.8 1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 128.0.0.0 172.15.255.255 "
    "172.32.0.0 191.255.255.255 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 "
    "223.255.255.255 2001:200::1 2001:4860:4860::8888 2003::1 2606:4700::1111 2a00:1450::1 "
    "::ffff:8.8.8.8 64:ff9b::8.8.8.8"
)


def embeddings(address: IPv4Address) -> dict[str, int]:
    """The IPv6 addresses that hold an IPv4 address, by the name of the kind."""
    bits = int(address)
    return {
        "mapped": 0xFFFF << 32 | bits,
        "compatible": bits,
        "translated": 0xFFFF << 48 | bits,
        "NAT64": int(IPv6Address("64:ff9b::")) | bits,
        "local NAT64": int(IPv6Address("64:ff9b:1::")) | bits,
        "6to4": 0x2002 << 112 | bits << 80 | 1,
        "Teredo server": 0x20010000 << 96 | bits << 64 | (~int(IPv4Address("8.8.8.8")) & 2**32 - 1),
        "Teredo client": 0x20010000 << 96 | 0x08080808 << 64 | bits ^ 0xFFFF_FFFF,
        "ISATAP": int(IPv6Address("2606:4700::5efe:0:0")) | bits,
        "ISATAP, universal": int(IPv6Address("2606:4700::200:5efe:0:0")) | bits,
    }


@given(st.data())
def test_an_inner_address_is_refused_in_all_its_clothes(data: st.DataObject) -> None:
    network = data.draw(st.sampled_from(INNER))
    first = int(network.network_address)
    address = IPv4Address(data.draw(st.integers(first, first + network.num_addresses - 1)))
    assert not is_public(str(address))
    for kind, bits in embeddings(address).items():
        assert not is_public(str(IPv6Address(bits))), kind
        assert not is_public(IPv6Address(bits).exploded), kind


@given(st.ip_addresses(v=4))
def test_the_rest_of_ipv4_is_public_itself_mapped_and_by_nat64(address: IPv4Address) -> None:
    public = not any(address in network for network in INNER)
    assert is_public(str(address)) == public
    for kind, bits in embeddings(address).items():
        assert is_public(str(IPv6Address(bits))) == (public and kind in ("mapped", "NAT64")), kind


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_is_public_in_few_networks_only(address: IPv6Address) -> None:
    if is_public(str(address)):
        assert address.is_global or address.ipv4_mapped
        assert address in ip_network("2000::/3") or int(address) >> 32 in (0xFFFF, 0x64FF9B << 64)
        assert not is_public(f"{address}%1")


@pytest.mark.parametrize("address", [*NOT_PUBLIC_ADDRESSES.split(), "", " 8.8.8.8", "8.8.8.8\n"])
def test_what_is_no_public_address(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES.split())
def test_what_is_a_public_address(address: str) -> None:
    assert is_public(address)
