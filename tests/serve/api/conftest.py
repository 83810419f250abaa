"""What the tests of the API share."""

import pytest

from llmrec.serve.app import create_app


@pytest.fixture
def app(service):
    return create_app(service)
