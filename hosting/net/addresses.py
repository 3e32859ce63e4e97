"""Addresses: those of the internet, and those that lead to inner networks."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Networks = tuple[IPv4Network | IPv6Network, ...]

NOT_PUBLIC: Networks = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # behind a provider's NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # what serves Azure's machines their settings, at a public address
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, given up
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
GLOBAL_UNICAST = IPv6Network("2000::/3")
EMBEDDED = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""IPv4 addresses in IPv6's clothes that lead somewhere today: mapped ones, and NAT64's."""


def is_public(address: str) -> bool:
    """Return whether an address, in text, is one of the internet's: globally routable unicast.

    An IPv4-mapped or NAT64 address is what it embeds. The tunnels that are no longer in use (6to4,
    Teredo, ISATAP, IPv4-compatible) are refused whatever they embed.
    https://www.iana.org/assignments/iana-ipv4-special-registry
    https://www.iana.org/assignments/iana-ipv6-special-registry
    """
    # Not `is_global`: Python 3.11 calls multicast, fec0::/10, 64:ff9b::10.0.0.1 and more global.
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id is not None:
            return False
        if any(parsed in network for network in EMBEDDED):
            parsed = IPv4Address(int(parsed) & 0xFFFF_FFFF)
        elif parsed not in GLOBAL_UNICAST or int(parsed) >> 32 & 0xFDFF_FFFF == 0x5EFE:  # ISATAP
            return False
    return not any(parsed in network for network in NOT_PUBLIC)
