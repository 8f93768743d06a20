"""How the gateway proves itself to providers: one file per scheme, each a pure function from a secret to headers."""
