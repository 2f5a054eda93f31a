"""Telling what lies at a place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hostbuild.errors import LocalImageError, UsageError
from hostbuild.local import guess_kind, open_local
from hostbuild.oci.index import Index
from tests.local.images import (
    LAYERS,
    archive_layout,
    config_of,
    docker_save,
    hex_of,
    make_layout,
    saved,
    tar_file,
)


def test_layouts_and_archives(tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "lay")
    archive = archive_layout(layout, tmp_path / "lay.tar")
    assert guess_kind(str(layout)) == "oci"
    assert guess_kind(f"{layout}:v1") == "oci"
    assert guess_kind(str(archive)) == "oci-archive"
    assert guess_kind(docker_save(tmp_path / "saved.tar")) == "docker-archive"


def both(tmp_path: Path) -> Path:
    """A layout that is an archive of docker save as well."""
    layout = make_layout(tmp_path / "lay")
    config = config_of()
    names = [f"blobs/sha256/{hex_of(each)}" for each in (config, *LAYERS)]
    for name, data in zip(names, (config, *LAYERS), strict=True):
        (layout / name).write_bytes(data)
    (layout / "manifest.json").write_text(json.dumps([saved(names[0], names[1:])]))
    return layout


def test_what_is_both_is_a_layout_with_all_platforms(tmp_path: Path) -> None:
    layout = both(tmp_path)
    assert guess_kind(str(archive_layout(layout, tmp_path / "x.tar"))) == "oci-archive"
    assert guess_kind(str(layout)) == "oci"


@pytest.mark.parametrize("missing", ["child", "root"])
def test_what_is_both_and_lacks_manifests_is_what_docker_saved(tmp_path: Path, missing: str) -> None:
    layout = both(tmp_path)
    with open_local("oci", str(layout)) as found:
        gone = Index.decode(found.read(found.root)).manifests[1] if missing == "child" else found.root
    (layout / "blobs/sha256" / gone.digest.hex).unlink()
    archive = archive_layout(layout, tmp_path / "x.tar")
    assert guess_kind(str(archive)) == "docker-archive"
    open_local("docker-archive", str(archive)).close()


def test_what_is_found_instead_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "source").mkdir()
    (tmp_path / "source/go.mod").write_text("")
    (tmp_path / "text").write_text("no archive " * 100)
    for name, words in (
        ("empty", "without 'oci-layout', and empty"),
        ("source", "in it is 'go.mod'"),
        ("text", "not a tar archive"),
        ("nothing", "there is no"),
    ):
        with pytest.raises(LocalImageError, match=words):
            guess_kind(str(tmp_path / name))
    with pytest.raises(LocalImageError, match=r"in it is 'go\.mod'"):
        guess_kind(tar_file(tmp_path / "source.tar", {"go.mod": b""}))
    with pytest.raises(LocalImageError, match="or any file"):
        guess_kind(tar_file(tmp_path / "empty.tar", {}))
    with pytest.raises(UsageError, match="standard input"):
        guess_kind("-")
