"""The journal on disk: append-only files, one writer per worker, readers beside it, verification offline.

    <data_dir>/journal/<replica>.<slot>/     an origin: one chain of records, numbered from 0, for ever
        lock            held (flock) by the one process that may write here
        00000000.seg    the chain in files allocated ahead; each begins with a SEGMENT record
        synced          how far the chain is known to be on the device (layout.py)

`writer` appends, `syncer` is its thread, `recovery` opens what a crash left, `opening` puts the three together,
`reader` follows, `verify` and `checkpoint` prove, `retention` removes.

What holds:

- A record acknowledged by `append` survives the death of the process; one that `synced` returned for survives the
  death of the machine.
- A reader never sees a record that is not on the device, so no consumer is ever ahead of its journal.
- A file that failed once is never trusted again: what was not known to be on the device is written anew, in one
  atomic step, into the next file, whose first record says where the failed one ends.
- Recovery changes no byte of what it found. The next file's first record says where the sound part ends; what lies
  beyond stays as evidence and is not read.
- Damage below `synced`, or in the middle of what no power failure explains, is refused (journal.corrupt) until an
  operator sets the origin aside; its name is never used again, and `ostiary audit verify` goes on reporting it.
"""
