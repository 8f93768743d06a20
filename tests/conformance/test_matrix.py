"""The published matrix is what the gateway does today, and nothing in it fails."""

from tests.conformance.matrix import page
from tests.tidy.tree import ROOT


def test_the_published_matrix_is_what_the_gateway_does():
    told = page()
    assert (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8") == told, "run `make docs`"
    assert "FAILS" not in told.partition("\n## From")[2]
