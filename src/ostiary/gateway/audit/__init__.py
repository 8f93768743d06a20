"""What the journal holds, as bytes and as values: frames, their chain, and the payloads. No I/O, no clock.

`frame` knows bytes and nothing of calls; `record` knows calls and nothing of files. The files are in
`store/journal`, the drawing of a verified chain there in `verify`.
"""
