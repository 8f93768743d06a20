"""JSON Web Tokens signed with RSA and SHA-256 (RFC 7515, RFC 7518 section 3.3), for Google's service accounts."""

import base64

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ostiary.core.error import Code, OperatorError
from ostiary.core.secret import Secret
from ostiary.gateway.wire.json import encode


def signed(claims: dict[str, object], key: Secret, key_id: str) -> str:
    """The token. Raises OperatorError config.invalid for a key that is no RSA key in PEM."""
    header: dict[str, object] = {"alg": "RS256", "typ": "JWT"}
    if key_id:
        header["kid"] = key_id
    text = _base64url(encode(header)) + b"." + _base64url(encode(claims))
    try:
        private = load_pem_private_key(key.reveal().encode(), None)
    except (ValueError, TypeError):
        raise OperatorError(Code.CONFIG_INVALID, "the service account's private_key cannot be read") from None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise OperatorError(Code.CONFIG_INVALID, "the service account's private_key is no RSA key")
    return (text + b"." + _base64url(private.sign(text, padding.PKCS1v15(), hashes.SHA256()))).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
