"""The migrations, in order. Each runs in one transaction and is never edited once released.

NNNN_pre_title.sql     expands: a program that does not know of it goes on working
NNNN_post_title.sql    contracts: takes away what only programs from before the step it completes still use
"""
