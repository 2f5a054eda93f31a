import os
from pathlib import Path
from typing import Any

import pytest

from hostbuild.cli.arguments import given_settings, parse
from hostbuild.errors import HostbuildError, SettingsError, UsageError
from hostbuild.model import Access, BuildRequest, Output
from hostbuild.settings.load import default_cache_dir, load_access, load_request, unknown_variables
from hostbuild.settings.table import ACCESS, SETTINGS


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


KINDS: dict[str, tuple[str, str]] = {
    "text": ("x", '"x"'),
    "list": ("a", '["a"]'),
    "pairs": ("A=b", '{A = "b"}'),
    "words": ("a b", '["a", "b"]'),
    "switch": ("true", "true"),
    "count": ("3", "3"),
    "seconds": ("2.5", "2.5"),
    "choice": ("missing", '"missing"'),
    "size": ("20G", '"20G"'),
}
SPECIAL: dict[str, tuple[str, str]] = {
    "output": ("type=image,name=reg.example/o", '["type=image,name=reg.example/o"]'),
    "tls-verify": ("false", "false"),
    "compression": ("zstd", '"zstd"'),
    "split": ("false", "false"),
    "creds": ("me:secret", ""),
    "registry-mirror": ("docker.io=mirror.example/hub", '["docker.io=mirror.example/hub"]'),
}


#: Not a real one, but of its form.
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMAMBAf8=\n-----END CERTIFICATE-----\n"


def test_every_setting_can_be_a_flag_a_variable_and_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text(CERTIFICATE)  # the files that are named must be there
    (tmp_path / "func.yaml").write_text("image: registry.example/from-yaml\n")
    for setting in SETTINGS:
        text, toml = SPECIAL.get(setting.name, KINDS[setting.kind])
        for name in setting.names:
            (tmp_path / "hostbuild.toml").unlink(missing_ok=True)
            plain = load(tmp_path)
            by_flag = load(tmp_path, f"--{name}={text}")
            by_variable = load(tmp_path, **{"HOSTBUILD_" + name.upper().replace("-", "_"): text})
            assert _bare(by_flag) == _bare(by_variable) != _bare(plain), name
            if setting.in_files:
                (tmp_path / "hostbuild.toml").write_text(f"{name} = {toml}\n")
                if setting.path:  # a file's paths are relative to the file
                    by_flag = load(tmp_path, f"--{name}", str(tmp_path / text))
                assert _bare(load(tmp_path)) == _bare(by_flag), name


def _bare(request: BuildRequest) -> dict[str, Any]:
    bare = {name: value for name, value in vars(request).items() if name != "environment"}
    return {**bare, "access": request.access._replace(environment={})}


def test_no_form_of_a_switch_beats_a_file(tmp_path: Path) -> None:
    (tmp_path / "hostbuild.toml").write_text("ship-source = true\n")
    assert load(tmp_path).ship_source is True
    assert load(tmp_path, "--no-ship-source").ship_source is False


def test_a_timeout_of_nothing_is_none(tmp_path: Path) -> None:
    assert load_request(tmp_path, {"timeout": 0.0}, {}).timeout is None
    assert load_request(tmp_path, {"timeout": 0.5}, {}).timeout == 0.5


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


def test_registries_settings_make_the_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    (tmp_path / "auth.json").write_text("{}")
    request = load(
        tmp_path,
        *("-t", "registry.example:5000/team/app:v1", "--registry-insecure", "--ca-file", "ca.pem"),
        *("--authfile", "auth.json", "--creds", "me:pa=ss", "--creds", "other.example=you:word"),
        *("--registry-mirror", "docker.io=mirror.example", "--retry-time", "7", "--offline"),
        HTTPS_PROXY="http://proxy.example",
    )
    assert request.access == Access(
        environment={"HOME": "/home/u", "HTTPS_PROXY": "http://proxy.example"},
        verify=False,
        ca_file="ca.pem",
        authfile="auth.json",
        credentials=(("registry.example:5000", "me:pa=ss"), ("other.example", "you:word")),
        mirrors=(("docker.io", "mirror.example"),),
        offline=True,
        retry_time=7.0,
    )


def test_without_settings_the_access_is_the_default_one(tmp_path: Path) -> None:
    assert load(tmp_path).access == Access(environment={"HOME": "/home/u"})
    assert load(tmp_path, "--offline").access.offline


@pytest.mark.parametrize(
    ("flags", "verify"),
    [
        ((), True),
        (("--tls-verify",), True),
        (("--tls-verify=true",), True),
        (("--tls-verify=false",), False),
        (("--tls-verify=0",), False),
        (("--no-tls-verify",), False),
        (("--registry-insecure",), False),
        (("--registry-insecure=true",), False),
        (("--registry-insecure=false",), True),
        (("--registry-insecure", "--tls-verify"), True),
    ],
)
def test_spellings_of_insecure(tmp_path: Path, flags: tuple[str, ...], verify: bool) -> None:
    assert load(tmp_path, *flags).access.verify is verify


def test_insecure_in_variables_and_files(tmp_path: Path) -> None:
    assert not load(tmp_path, HOSTBUILD_REGISTRY_INSECURE="true").access.verify
    assert load(tmp_path, HOSTBUILD_REGISTRY_INSECURE="false").access.verify
    (tmp_path / "hostbuild.toml").write_text("registry-insecure = true\n")
    assert not load(tmp_path).access.verify
    assert load(tmp_path, HOSTBUILD_TLS_VERIFY="1").access.verify
    assert load(tmp_path, "--registry-insecure=false").access.verify
    with pytest.raises(SettingsError, match="HOSTBUILD_TLS_VERIFY and HOSTBUILD_REGISTRY_INSECURE"):
        load(tmp_path, HOSTBUILD_TLS_VERIFY="1", HOSTBUILD_REGISTRY_INSECURE="1")
    (tmp_path / "hostbuild.toml").write_text("registry-insecure = true\ntls-verify = true\n")
    with pytest.raises(SettingsError, match=r"hostbuild.toml:2: 'tls-verify'"):
        load(tmp_path)


def test_the_base_and_where_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "func.yaml").write_text("name: fn\nbuild:\n  baseImage: from.yaml/base\n")
    assert load(tmp_path).base == "from.yaml/base"
    (tmp_path / "hostbuild.toml").write_text('base = "oci:layout"\n')
    assert load(tmp_path).base == f"oci:{tmp_path}/layout"
    assert load(tmp_path, HOSTBUILD_BASE_IMAGE="from.env/base").base == "from.env/base"
    assert load(tmp_path, "--base-image", "scratch", HOSTBUILD_BASE="x").base == "scratch"
    assert load(tmp_path, "--base", "oci:layout").base == "oci:layout"
    with pytest.raises(SettingsError, match="HOSTBUILD_BASE and HOSTBUILD_BASE_IMAGE"):
        load(tmp_path, HOSTBUILD_BASE="x", HOSTBUILD_BASE_IMAGE="y")


def test_pull(tmp_path: Path) -> None:
    assert load(tmp_path).pull == ""
    assert load(tmp_path, "--pull=never").pull == "never"
    assert load(tmp_path, "--pull", HOSTBUILD_PULL="never").pull == "always"
    assert load(tmp_path, HOSTBUILD_PULL="missing").pull == "missing"
    for flags, environ in ((["--pull=often"], {}), ([], {"HOSTBUILD_PULL": "often"})):
        with pytest.raises(SettingsError, match="'often' is not a choice"):
            load(tmp_path, *flags, **environ)
    (tmp_path / "hostbuild.toml").write_text('pull = "often"\n')
    with pytest.raises(SettingsError, match=r"hostbuild.toml:1: pull") as caught:
        load(tmp_path)
    assert "always, missing, never" in caught.value.fix


def test_a_switch_of_a_weaker_place_can_be_taken_back(tmp_path: Path) -> None:
    (tmp_path / "hostbuild.toml").write_text(
        "lock = true\npush = true\ntag = 'r.example/x'\noffline = true\n"
    )
    request = load(tmp_path, "--lock=false", "--no-push")
    assert (request.lock, request.outputs, request.access.offline) == (False, (), True)
    assert load(tmp_path, "--no-offline", HOSTBUILD_LOCK="false").outputs == (Output("registry", push=True),)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--lock", "--locked"], "--lock and --locked"),
        (["--push", "--offline", "-t", "r.example/x"], "--offline"),
        (["-o", "type=registry", "--offline", "-t", "r.example/x"], "--offline"),
        (["--push"], "no name"),
        (["-o", "type=registry"], "no name"),
        (["--push", "-o", "type=image,push=false", "-t", "r.example/x"], "push=false"),
        (
            ["-t", "r.example/x", "-t", "r.example/y", "-o", "type=image,push=true,push-by-digest=true"],
            "2 names",
        ),
        (["-o", 'type=registry,push-by-digest=true,"name=r.example/x,r.example/y"'], "2 names"),
        (["-o", "type=registry,push-by-digest=true,name=r.example:1/x:v1"], "'r.example:1/x:v1' names one"),
        (["-t", "r.example:1/x:v1", "-o", "type=registry,push-by-digest=true"], "r.example:1/x:v1 names one"),
    ],
)
def test_contradictions(tmp_path: Path, flags: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, *flags)
    assert words in str(caught.value)
    assert caught.value.fix


def test_a_name_to_push_to_names_the_image(tmp_path: Path) -> None:
    request = load(tmp_path, "-o", "type=registry,name=r.example/x:v1", "--creds", "me:word")
    assert request.tags == ("r.example/x:v1",)
    assert request.access.credentials == (("r.example", "me:word"),)
    by_tag = load(
        tmp_path, "-o", "type=registry,name=r.example/x:v1", "-t", "s.example/y", "--creds", "me:word"
    )
    assert by_tag.tags == ("s.example/y",)
    assert by_tag.access.credentials == (("s.example", "me:word"),)


def test_outputs_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "hostbuild.toml").write_text('output = ["type=oci,dest=image.tar"]\n')
    assert load(tmp_path).outputs == (Output("oci", str(tmp_path / "image.tar"), tar=True),)
    assert load(tmp_path, "-o", "type=oci,dest=image.tar").outputs == (Output("oci", "image.tar", tar=True),)


SECRET = "s3cr3t-w0rd"


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f":{SECRET}",
        f"{SECRET}:",
        f"{SECRET}=",
        f"r.example={SECRET}",
        f"r.example=:{SECRET}",
        f"word={SECRET}:x",
        f"user:{SECRET}\0",
    ],
)
def test_no_error_tells_a_login(tmp_path: Path, text: str) -> None:
    for flags, environ in ((["--creds", text], {}), ([], {"HOSTBUILD_CREDS": text})):
        with pytest.raises(SettingsError) as caught:
            load(tmp_path, *flags, **environ)
        error = caught.value
        assert SECRET not in "".join((str(error), error.fix, error.detail, repr(error), repr(error.args)))


def test_no_tool_gets_a_login_and_no_repr_tells_it(tmp_path: Path) -> None:
    request = load(tmp_path, "-t", "r.example/x", HOSTBUILD_CREDS=f"me:{SECRET}")
    assert request.access.credentials == (("r.example", f"me:{SECRET}"),)
    assert SECRET not in "".join(request.environment.values())
    assert SECRET not in "".join(request.access.environment.values())
    assert SECRET not in repr(request)


def test_a_login_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hostbuild.toml").write_text(f'\ncreds = ["me:{SECRET}"]\n')
    with pytest.raises(SettingsError, match=r"hostbuild.toml:2: 'creds' is a secret") as caught:
        load(tmp_path)
    assert "hostbuild login" in caught.value.fix
    assert SECRET not in str(caught.value)


def test_access_of_a_command_that_builds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"HOSTBUILD_CREDS": "me:word", "HOSTBUILD_JOBS": "none", "HOSTBUILD_RETRY_TIME": "3"}
    access = load_access("r.example/x", {"tls-verify": False}, environ)
    assert (access.verify, access.retry_time) == (False, 3.0)
    assert access.credentials == (("r.example", "me:word"),)
    assert load_access(None, {}, environ).credentials == ()
    (tmp_path / "mine.pem").write_text(CERTIFICATE)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostbuild.toml").write_text("tls-verify = false\nca-file = 'ca.pem'\n")
    access = load_access("r.example/x", {"ca-file": "mine.pem"}, {}, root=str(tmp_path))
    assert (access.verify, access.ca_file) == (False, "mine.pem")
    assert {setting.group for setting in ACCESS} == {"registries"}


def test_unknown_variables_are_named_with_what_may_be_meant() -> None:
    assert (
        unknown_variables({"HOSTBUILD_TAG": "x", "HOSTBUILD_BASE_IMAGE": "x", "HOSTBUILD_PROGRESS": "x"})
        == ()
    )
    assert (
        unknown_variables({"HOSTBUILD_BUILD_ID": "x", "HOSTBUILD_REGISTRY_INSECURE": "x", "PATH": "x"}) == ()
    )
    first, second = unknown_variables({"HOSTBUILD_ZYX": "x", "HOSTBUILD_PLATFROM": "x"})
    assert "HOSTBUILD_PLATFROM" in first
    assert "did you mean HOSTBUILD_PLATFORM?" in first
    assert "HOSTBUILD_ZYX" in second
    assert "did you mean" not in second


@pytest.mark.parametrize(
    "line",
    [
        'build-dir = "../elsewhere"',
        'build-dir = "/elsewhere"',
        'build-dir = "."',
        'cache-dir = "/elsewhere"',
        'cache-dir = "out/there"',
        'output = ["type=oci,dest=../image.tar"]',
        'output = ["type=docker,dest=/elsewhere/image.tar"]',
        'output = ["type=oci,tar=false,dest=out/image"]',
    ],
)
def test_a_file_of_the_project_writes_in_the_project_only(tmp_path: Path, line: str) -> None:
    root = tmp_path / "src"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    (root / "hostbuild.toml").write_text(f"{line}\n")
    with pytest.raises(SettingsError, match="outside the project"):
        load(root)
    inside = line.replace("../", "a/").replace('"/', '"').replace("=/", "=").replace("out/", "b/")
    (root / "hostbuild.toml").write_text(inside.replace('"."', '"own"') + "\n")
    load(root)
