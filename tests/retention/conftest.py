"""People for the tests of cleanup."""

from tests.runs.conftest import ada, alice, bob, charlie, lora  # noqa: F401
