import os
from pathlib import Path
from typing import Any

import pytest

from hostbuild.cli.arguments import given_settings, parse
from hostbuild.errors import HostbuildError, SettingsError, UsageError
from hostbuild.model import BuildRequest, Output
from hostbuild.settings.load import default_cache_dir, load_request, parse_output
from hostbuild.settings.table import SETTINGS


def load(root: Path, *flags: str, **environ: str) -> BuildRequest:
    """The request as the command line makes it, with an environment of just these variables."""
    return load_request(
        root, given_settings(parse(["build", str(root), *flags])), {"HOME": "/home/u", **environ}
    )


def test_the_stronger_place_wins(tmp_path: Path) -> None:
    (tmp_path / "func.yaml").write_text(
        "name: fn\nimage: from.yaml/x:1\nrun:\n  envs:\n  - {name: A, value: yaml}\n"
    )
    assert load(tmp_path).tags == ("from.yaml/x:1",)
    assert load(tmp_path, FUNC_IMAGE="func.env/x").tags == ("func.env/x",)
    (tmp_path / "hostbuild.toml").write_text('tag = "from.toml/x"\n[env]\nA = "toml"\nB = "toml"\n')
    assert load(tmp_path).tags == ("from.toml/x",)
    assert load(tmp_path, HOSTBUILD_TAG="from.env/x\nfrom.env/y").tags == ("from.env/x", "from.env/y")
    assert load(tmp_path, "-t", "flag/x", HOSTBUILD_TAG="from.env/x").tags == ("flag/x",)
    assert dict(load(tmp_path).env) == {"A": "toml", "B": "toml"}
    assert dict(load(tmp_path, "-e", "A=flag", HOSTBUILD_ENV="B=var").env) == {"A": "flag", "B": "var"}


def test_default_names(tmp_path: Path) -> None:
    odd = tmp_path / "My App__(1)"
    odd.mkdir()
    assert load(odd).tags == ("my-app-1:latest",)
    assert load(odd, FUNC_REGISTRY="r.example/team/").tags == ("r.example/team/my-app-1:latest",)
    (odd / "func.yaml").write_text("name: fn\nregistry: r.example\n")
    assert load(odd).tags == ("r.example/fn:latest",)


def test_pyproject_is_read_and_hostbuild_toml_wins_over_it(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname="x"\n[tool.hostbuild]\nuser = "7"\njobs = 3\n')
    assert load(tmp_path).user == "7"
    (tmp_path / "hostbuild.toml").write_text("jobs = 2\n")
    request = load(tmp_path)
    assert (request.user, request.jobs) == ("", 2)


def test_every_setting_can_be_a_flag_a_variable_and_a_key(tmp_path: Path) -> None:
    samples: dict[str, tuple[str, str]] = {
        "text": ("x", '"x"'),
        "list": ("a", '["a"]'),
        "pairs": ("A=b", '{A = "b"}'),
        "words": ("a b", '["a", "b"]'),
        "switch": ("true", "true"),
        "count": ("3", "3"),
        "seconds": ("2.5", "2.5"),
    }
    for setting in SETTINGS:
        text, toml = samples[setting.kind]
        if setting.name == "output":
            text, toml = "type=oci,tar=false,dest=o", '["type=oci,tar=false,dest=o"]'
        flag = [f"--{setting.name}"] if setting.kind == "switch" else [f"--{setting.name}", text]
        (tmp_path / "hostbuild.toml").unlink(missing_ok=True)
        plain = load(tmp_path)
        by_flag = load(tmp_path, *flag)
        by_variable = load(tmp_path, **{setting.variable: text})
        assert _bare(by_flag) == _bare(by_variable) != _bare(plain), setting.name
        if setting.name not in {"wait", "wait-timeout"}:
            (tmp_path / "hostbuild.toml").write_text(f"{setting.name} = {toml}\n")
            if setting.name in {"build-dir", "cache-dir"}:  # a file's paths are relative to the file
                by_flag = load(tmp_path, f"--{setting.name}", str(tmp_path / text))
            assert _bare(load(tmp_path)) == _bare(by_flag), setting.name


def _bare(request: BuildRequest) -> dict[str, Any]:
    return {name: value for name, value in vars(request).items() if name != "environment"}


def test_no_form_of_a_switch_beats_a_file(tmp_path: Path) -> None:
    (tmp_path / "hostbuild.toml").write_text("ship-source = true\n")
    assert load(tmp_path).ship_source is True
    assert load(tmp_path, "--no-ship-source").ship_source is False


def test_words() -> None:
    assert load(Path(), "--cmd", '["a b", "c"]').cmd == ("a b", "c")
    assert load(Path(), "--cmd", "'a b' c").cmd == ("a b", "c")
    assert load(Path(), "--entrypoint", "").entrypoint == ()


def test_a_variable_from_here(tmp_path: Path) -> None:
    assert load(tmp_path, "-e", "WHO", WHO="me").env == (("WHO", "me"),)
    with pytest.raises(SettingsError, match="not set"):
        load(tmp_path, "-e", "WHO")


@pytest.mark.parametrize(
    ("flags", "environ"),
    [
        (["--jobs", "0"], {}),
        (["--jobs", "x"], {}),
        (["--timeout", "-1"], {}),
        (["--timeout", "nan"], {}),
        (["--cmd", "[1]"], {}),
        (["--cmd", "'open"], {}),
        (["--cmd", "[oops"], {}),
        (["-e", "=x"], {}),
        (["-e", "A B=x"], {}),
        (["--label", "alone"], {}),
        ([], {"HOSTBUILD_SHIP_SOURCE": "maybe"}),
        ([], {"SOURCE_DATE_EPOCH": "yesterday"}),
        ([], {"SOURCE_DATE_EPOCH": "-5"}),
    ],
)
def test_bad_values_are_one_clear_error(tmp_path: Path, flags: list[str], environ: dict[str, str]) -> None:
    with pytest.raises(HostbuildError) as caught:
        load(tmp_path, *flags, **environ)
    assert caught.value.exit_code == 2
    said = (flags or [*environ.keys()])[0].lstrip("-")
    assert said.split("=")[0] in caught.value.what or said == "e"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("jobs = [", "hostbuild.toml:1:9: not valid TOML"),
        ("\n\njobs = 'two'", "hostbuild.toml:3: jobs"),
        ("jobs = true", "wrong kind"),
        ("env = {A = 1}", "wrong kind"),
        ("platfrom = 'x'", "unknown setting 'platfrom'"),
        ("wait = true", "command line only"),
    ],
)
def test_bad_toml_names_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "hostbuild.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(tmp_path)
    assert words in str(caught.value)
    assert "hostbuild.toml" in caught.value.what


def test_output() -> None:
    assert parse_output("type=oci,tar=false,dest=out") == Output("oci", "out")


@pytest.mark.parametrize(
    "text",
    [
        "out",
        "type=docker,dest=x",
        "type=oci,dest=x.tar",
        "type=oci,tar=false",
        "type=oci,tar=false,dest=-",
        "type=oci,type=oci",
        "type=oci,tar=false,dest=x,compression=zstd",
    ],
)
def test_bad_outputs(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_output(text)
    assert repr(text) in caught.value.what


def test_cache_directory_follows_the_base_directory_specification() -> None:
    assert default_cache_dir({"XDG_CACHE_HOME": "/c"}) == "/c/hostbuild"
    assert default_cache_dir({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == "/h/.cache/hostbuild"
    assert default_cache_dir({"HOME": "/h"}) == "/h/.cache/hostbuild"


def test_source_date_epoch(tmp_path: Path) -> None:
    assert load(tmp_path, SOURCE_DATE_EPOCH="1700000000").created == 1700000000
    assert load(tmp_path).created is None


@pytest.mark.parametrize("name", ["func.yaml", "hostbuild.toml", "pyproject.toml"])
def test_a_pipe_a_device_and_a_huge_file_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(SettingsError, match=f"cannot read {name}"):
        load(tmp_path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(SettingsError, match=name):
        load(tmp_path)
    path.unlink()
    path.write_bytes(b"#" * (1 << 20) + b"#")
    with pytest.raises(SettingsError, match="1 MiB"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["a=" + "[" * 50_000, 'build-dir = "\\u0000"'])
def test_hostile_toml_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "hostbuild.toml").write_text(text)
    with pytest.raises(SettingsError):
        load(tmp_path)
