"""No test takes a bundle from the user's compile cache, or leaves one there."""
import os
import tempfile

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache():
    with tempfile.TemporaryDirectory(prefix="intaglio-cache-") as folder:
        before = os.environ.get("INTAGLIO_CACHE")
        os.environ["INTAGLIO_CACHE"] = folder
        yield
        if before is None:
            del os.environ["INTAGLIO_CACHE"]
        else:
            os.environ["INTAGLIO_CACHE"] = before
