"""Commands: one file per group, on the same services as everything else. Exit codes: 0 done, 1 the thing checked does
not hold, 2 bad usage or configuration.
"""
