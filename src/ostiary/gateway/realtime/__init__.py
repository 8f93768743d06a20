"""OpenAI's realtime API: a WebSocket between a client and a provider that speaks it.

A session is one call, with its two records, and costs nothing by itself. Each answer within it (and each transcript of
what was heard) is a call of its own: decided, limited, held, recorded and settled when it ends, so that what a long
session has spent is never only in memory. Events pass as they came; what is edited stands in `event.py`.
"""
