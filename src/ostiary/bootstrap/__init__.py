"""Where concrete classes meet: one module per process, and what prepares them."""
