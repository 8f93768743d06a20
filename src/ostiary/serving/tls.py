"""The server's own certificate: TLS 1.3 unless told otherwise, reloaded when its files change."""

import ssl
from pathlib import Path

from ostiary.core.error import Code, OperatorError


class Certificate:
    """A context that serves a certificate chain and its key from two files.

    `refresh` loads them again where either changed; new connections then get the new certificate, open ones keep
    theirs. A pair that does not load leaves the old one in use and raises.
    """

    def __init__(
        self, certificate_file: Path, key_file: Path, minimum_version: str, client_ca_file: Path | None
    ) -> None:
        self._certificate_file = certificate_file
        self._key_file = key_file
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2 if minimum_version == "1.2" else ssl.TLSVersion.TLSv1_3
        self.context.set_alpn_protocols(["http/1.1"])
        if client_ca_file is not None:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(client_ca_file)
        self._loaded: tuple[tuple[int, int], ...] = ()
        self._refused: tuple[tuple[int, int], ...] = ()
        self.refresh()

    def refresh(self) -> bool:
        """Load the files again if they changed; whether they did. Raises OperatorError config.invalid, once for each
        pair that cannot be used."""
        try:
            seen = tuple(
                (stat.st_mtime_ns, stat.st_ino) for stat in (self._certificate_file.stat(), self._key_file.stat())
            )
            if seen in (self._loaded, self._refused):
                return False
            self._refused = seen  # a pair that does not load is told once, not again at each look
            # Tried on a context of its own first: a pair that does not fit must not half-replace the one in use.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate_file, self._key_file)
            self.context.load_cert_chain(self._certificate_file, self._key_file)
        except (OSError, ssl.SSLError) as error:
            raise OperatorError(
                Code.CONFIG_INVALID, f"the certificate {self._certificate_file} with its key cannot be loaded: {error}"
            ) from error
        self._loaded = seen
        return True
