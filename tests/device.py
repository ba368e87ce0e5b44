"""Where tests that make pictures make them: the CPU, or what ``UNIID_TEST_DEVICE`` names (``cuda``)."""

import os

DEVICE = os.environ.get("UNIID_TEST_DEVICE", "cpu")
