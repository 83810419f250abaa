"""Every operation, by its own document: no 5xx, nothing outside the document, each answers well at least once."""

import importlib.util
import sys
from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, settings

from llmrec.serve.app import create_app

CHECKS = schemathesis.checks
SECRET = "llmrec_all_" + "k" * 43


def _load_fakes():
    """Schemathesis makes its tests while they are collected, before there are fixtures."""
    spec = importlib.util.spec_from_file_location("llmrec_serve_fakes_early", Path(__file__).parents[1] / "fakes.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _app():
    fakes = _load_fakes()
    service = fakes.FakeService()
    service.secrets[SECRET] = fakes.Key("all", "all", ("admin",), 10**9, 1.0)
    return create_app(service)


APP = _app()
REFUSED = ["400", "401", "404", "405", "413", "415", "422"]
CONFIG = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}})
schema = schemathesis.openapi.from_dict(APP.openapi(), config=CONFIG).exclude(
    path_regex="^/v1/bulk/"
)  # lines, not JSON
schema.app = APP


@schema.parametrize()
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_fuzzed_requests_get_what_the_document_says(case):
    answer = case.call(headers={"Authorization": f"Bearer {SECRET}"})
    # 422 may also say that an item is not in the catalog; what the document allows must be *well formed*, see below.
    # Wrong keys have tests of their own, and a limit.
    excluded = [CHECKS.positive_data_acceptance, CHECKS.ignored_auth]
    case.validate_response(answer, excluded_checks=excluded)
    if case.meta is not None and case.meta.generation.mode == schemathesis.GenerationMode.POSITIVE:
        assert answer.status_code not in {400, 413, 415} or "cursor" in answer.text, answer.text
        assert answer.status_code != 422 or "errors" not in answer.json(), answer.text
