"""Outbound HTTP: the product's own HTTP/1.1 client (implements ports.Upstream).

`client.HttpUpstream` is all that others need. One call passes head (pure encoding) → pool (a connection for it)
→ dial (resolver, address, proxy, tls) → connection (the protocol) → reply (what the caller reads).
"""
