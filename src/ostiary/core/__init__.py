"""The words of the product: frozen values, closed vocabularies, bounds and errors. No I/O, no clock, no randomness.

Everything else imports these; they import nothing of ours.
"""
