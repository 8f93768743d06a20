"""Keys: the credentials of applications. Shown once, stored only as digests under the installation's pepper."""
