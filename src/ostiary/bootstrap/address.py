"""The addresses of upstreams and proxies in the operator's file."""

from urllib.parse import urlsplit

from ostiary.core.http import Origin


def address_of(text: str) -> tuple[Origin, str]:
    """The origin and the path of a URL. Raises ValueError, told in the file's terms."""
    parts = urlsplit(text)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a URL has the form http(s)://host[:port][/path]")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a base URL has no user, query or fragment")
    if not parts.path.isascii() or any(char in parts.path for char in " %\\;") or ".." in parts.path.split("/"):
        raise ValueError("a base URL's path is plain ASCII without escapes")
    return Origin(parts.scheme, parts.hostname, port), parts.path.rstrip("/")
