"""The four shapes of knative's Go templates, each built and spoken to on three platforms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild, make_source
from tests.rig.layout import Layout
from tests.rig.run_image import Answer, Service, running
from tests.rig.sources import INSTANCED_CLOUDEVENTS, INSTANCED_HTTP, STATIC_CLOUDEVENTS, STATIC_HTTP

PLATFORMS = {"linux/amd64", "linux/arm64", "linux/arm/v7"}
EVENT = {
    "ce-specversion": "1.0",
    "ce-id": "42",
    "ce-type": "test.event",
    "ce-source": "/tests",
    "content-type": "application/json",
}


def build(hostbuild: Hostbuild, tmp_path: Path, files: Mapping[str, str]) -> Layout:
    layout = hostbuild.build(make_source(tmp_path / "src", files))
    assert set(layout.images) == PLATFORMS
    return layout


def send(service: Service) -> Answer:
    return service.request("POST", "/", json.dumps({"hello": "world"}).encode(), EVENT)


def test_static_http(hostbuild: Hostbuild, tmp_path: Path) -> None:
    for platform, image in build(hostbuild, tmp_path, STATIC_HTTP).images.items():
        with running(image, tmp_path / "run" / platform) as service:
            answer = service.request(path="/some/where?x=1")
        assert answer.status == 200
        assert "GET /some/where?x=1" in answer.body


def test_instanced_http_with_a_package_name_and_layout_of_its_own(
    hostbuild: Hostbuild, tmp_path: Path
) -> None:
    files = {
        "go.mod": "module example.com/other/v3\n\ngo 1.22\n",
        "func.yaml": INSTANCED_HTTP["func.yaml"],
        "types.go": "package shop\r\n\r\n// func Handle() {}\r\n\r\ntype Shop struct{ word string }\r\n",
        "new.go": 'package shop\n\nfunc New() *Shop { return &Shop{word: "shop"} }\n',
        "new_test.go": "package shop\n\nfunc Handle() {}\n",
        "other.go": "//go:build never\n\npackage shop\n\nfunc Handle() {}\n",
        "serve.go": """package shop

import (
	"net/http"

	"example.com/other/v3/inner"
)

func (s *Shop) Handle(w http.ResponseWriter, r *http.Request) { w.Write([]byte(s.word + inner.Word)) }
""",
        "inner/inner.go": 'package inner\n\nconst Word = " inner"\n\nfunc Handle() {}\n',
    }
    for platform, image in build(hostbuild, tmp_path, files).images.items():
        with running(image, tmp_path / "run" / platform) as service:
            assert service.request().body == "shop inner"


def test_static_cloudevents(hostbuild: Hostbuild, tmp_path: Path) -> None:
    for platform, image in build(hostbuild, tmp_path, STATIC_CLOUDEVENTS).images.items():
        with running(image, tmp_path / "run" / platform) as service:
            answer = send(service)
        assert answer.status == 200
        assert answer.headers["ce-id"] == "42"
        assert json.loads(answer.body) == {"hello": "world"}


def test_instanced_cloudevents(hostbuild: Hostbuild, tmp_path: Path) -> None:
    for platform, image in build(hostbuild, tmp_path, INSTANCED_CLOUDEVENTS).images.items():
        with running(image, tmp_path / "run" / platform) as service:
            answer = send(service)
        assert answer.status == 200
        assert answer.headers["ce-id"] == "response-42"
        assert json.loads(answer.body) == {"message": "instance"}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("func Handle() {}\n\nfunc New() *int { return nil }\n", "New"),
        ("func Other() {}\n", "Handle"),
        ("// func New() {}\n\n/*\nfunc Handle() {}\n*/\n", "Handle"),
    ],
    ids=["both", "neither", "only in comments"],
)
def test_what_is_not_one_shape_is_refused(
    hostbuild: Hostbuild, tmp_path: Path, source: str, text: str
) -> None:
    files = {**STATIC_HTTP, "handle.go": f"package function\n\n{source}"}
    hostbuild("build", make_source(tmp_path / "src", files)).fails(1, text)


def test_an_unknown_hint_is_refused(hostbuild: Hostbuild, tmp_path: Path) -> None:
    files = {**STATIC_HTTP, "func.yaml": STATIC_HTTP["func.yaml"].replace("invoke: http", "invoke: grpc")}
    result = hostbuild("build", make_source(tmp_path / "src", files))
    assert result.code in (1, 2)
    result.fails(result.code, "grpc")
