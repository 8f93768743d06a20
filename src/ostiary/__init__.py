"""Ostiary: the self-hosted platform through which a company's use of large language models passes."""

from typing import Final

__version__: Final = "0.1.0"
