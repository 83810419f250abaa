"""Each operation answers well what its document gives as an example, and the document's own examples are true."""

import jsonschema
import pytest

from llmrec.serve.app import BULK, create_app
from llmrec.serve.http import guarded_routes


@pytest.fixture(scope="module")
def document(fakes):
    return create_app(fakes.FakeService()).openapi()


def _operations(document):
    for path, operations in document["paths"].items():
        if path.startswith(BULK):  # lines, not JSON; they have tests of their own
            continue
        for method, operation in operations.items():
            yield method.upper(), path, operation


def _check(document, schema, value):
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def _body_example(document, operation):
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None, None
    schema = document["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[1]]
    return content["schema"], schema["examples"][0]


def test_each_operation_answers_its_example(document, fakes, make_client):
    well = set()
    for method, path, operation in _operations(document):
        client = make_client(fakes.FakeService())  # each on its own: what one removes another one wants
        schema, body = _body_example(document, operation)
        if schema is not None:
            _check(document, schema, body)
        address = path
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                example = (parameter.get("examples") or parameter["schema"].get("examples"))[0]
                address = address.replace("{" + parameter["name"] + "}", example)
        if "rollback" in path:
            client.post("/v1/admin/aliases/default/reload")
        answer = client.request(method, address, json=body)
        assert 200 <= answer.status_code < 300, (method, path, answer.text)
        said = operation["responses"][str(answer.status_code)]
        if answer.headers.get("content-type") == "application/json":
            _check(document, said["content"]["application/json"]["schema"], answer.json())
        well.add((method, path))
    assert well == {(method, path) for method, path, _ in _operations(document)}


def test_the_document_has_every_guarded_route(document, fakes):
    app = create_app(fakes.FakeService())
    routes = {(method, route.path_format) for route in guarded_routes(app.routes) for method in route.methods}
    said = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert said == routes


def test_every_status_has_a_true_example(document):
    for method, path, operation in _operations(document):
        assert operation["summary"], (method, path)
        for status, response in operation["responses"].items():
            for kind, content in response.get("content", {}).items():
                assert "example" in content, (method, path, status)
                assert kind.startswith("application/problem+json") == (int(status) >= 400), (method, path, status)
                if kind != "text/plain":
                    _check(document, content["schema"], content["example"])


def test_statuses_that_any_operation_may_give_are_said(document):
    for method, path, operation in _operations(document):
        said = set(operation["responses"])
        assert {"400", "413", "500"} <= said, (method, path)
        if "security" in operation:
            assert {"401", "403", "422", "429", "503"} <= said, (method, path)
        if "requestBody" in operation:
            assert {"408", "415"} <= said, (method, path)


def test_limits_are_named_as_they_are_configured(fakes):
    limits = {"k": 7, "history": 11, "ids": 13, "batch": 17, "text_chars": 19, "candidates": 23}
    document = create_app(fakes.FakeService(fakes.make_config(limits=limits))).openapi()
    schemas = document["components"]["schemas"]
    fields = schemas["TraceIn"]["properties"]
    assert fields["k"]["anyOf"][0]["maximum"] == 7
    assert fields["history"]["anyOf"][0]["maxItems"] == 11
    assert fields["exclude"]["maxItems"] == 13
    assert schemas["EventsIn"]["properties"]["events"]["maxItems"] == 17
    assert fields["wish"]["anyOf"][0]["maxLength"] == 19
    assert fields["candidates"]["anyOf"][0]["maximum"] == 23
    assert "x-limit" not in str(document)
