"""A backup as one file: what is in it with sizes and digests, written beside its place and renamed when it is whole, read
back only if every byte is what was written.

The file is a gzip'd tar of plain files whose last member is the manifest: a file that was cut off has none.
"""
