"""Calls handed over to a person, in files that the workers of a host share with its ops process."""
