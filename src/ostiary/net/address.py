"""Which addresses the product connects to. Pure.

Loopback and private networks are allowed, since an operator wrote the host into the configuration. Never allowed,
whatever a name resolves to: addresses behind which clouds serve machine credentials, and addresses that are no
single host.
"""

import ipaddress
from typing import Final

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

# Metadata and credential services outside the link-local ranges (those are refused as a whole).
_METADATA: Final[frozenset[Ip]] = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "fd00:ec2::254",  # AWS instance metadata
        "fd00:ec2::23",  # AWS pod identity
        "fd20:ce::254",  # Google Cloud metadata
        "168.63.129.16",  # Azure wire server
        "100.100.100.200",  # Alibaba Cloud metadata
        "192.0.0.192",  # Oracle Cloud metadata
    )
)
_CREDENTIALS: Final[frozenset[Ip]] = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254")
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def parse(text: str) -> Ip | None:
    """The address that `text` is, or None where it is a name."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a translated IPv6 address leads to."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def vet(address: Ip) -> str | None:
    """Why this address is refused, or None where it may be connected to."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return vet(inner)
    if address.is_link_local or address in _METADATA:
        return "it is a link-local or cloud metadata address"
    if address.is_unspecified or (address.version == 4 and int(address) >> 24 == 0):
        return "it is an unspecified address"
    if address.is_multicast:
        return "it is a multicast address"
    if address.version == 4 and int(address) >> 28 == 15:
        return "it is a reserved address"
    return None


def vet_metadata(address: Ip) -> str | None:
    """The same for a client that fetches the machine's own credentials: it may connect to where clouds serve those
    (link-local addresses of AWS, Google and Azure, and of AWS's containers), and nowhere else."""
    return None if address in _CREDENTIALS else "it is no cloud metadata address"
