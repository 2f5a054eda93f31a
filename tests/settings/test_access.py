import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import SettingsError, UsageError
from hostbuild.settings.access import parse_login, parse_mirror, parse_registry


def nobody() -> str:
    return "first.example"


@pytest.mark.parametrize(
    ("text", "login"),
    [
        ("me:word", ("first.example", "me:word")),
        ("me:wo=rd", ("first.example", "me:wo=rd")),
        ("me:wo=r:d", ("first.example", "me:wo=r:d")),
        ("r.example=me:word", ("r.example", "me:word")),
        ("r.example:5000=me:wo=rd", ("r.example:5000", "me:wo=rd")),
        ("localhost=me:word", ("localhost", "me:word")),
        ("[::1]:5000=me:word", ("[::1]:5000", "me:word")),
        ("https://r.example/=me:word", ("r.example", "me:word")),
        ("index.docker.io=me:word", ("docker.io", "me:word")),
        ("R.Example=me:Word", ("r.example", "me:Word")),
        ("me:a.b=c", ("first.example", "me:a.b=c")),
        ("r.example=me:123=x", ("r.example", "me:123=x")),
    ],
)
def test_logins(text: str, login: tuple[str, str]) -> None:
    assert parse_login(text, nobody) == login


@pytest.mark.parametrize(
    "text", ["localhost:7342=alice", "r.example=alice", "localhost=alice", "[::1]=alice:"]
)
def test_a_registry_without_a_whole_login_is_no_user(text: str) -> None:
    with pytest.raises(SettingsError, match="no password") as caught:
        parse_login(text, nobody)
    assert "alice" not in f"{caught.value}{caught.value.fix}"


@given(st.text())
def test_no_login_is_ever_quoted(text: str) -> None:
    said = ""
    try:
        registry, login = parse_login(text, nobody)
    except SettingsError as error:
        said = f"{error}{error.fix}{error.detail}"
    else:
        assert login in text
        assert ":" in login
        assert registry
    marked = "".join(char for char in text if not char.isascii())
    assert not marked or marked not in said


@pytest.mark.parametrize(
    ("text", "mirror"),
    [
        ("docker.io=mirror.example", ("docker.io", "mirror.example")),
        ("index.docker.io=mirror.example:5000/hub/", ("docker.io", "mirror.example:5000/hub")),
        ("r.example:5000=https://mirror.example/a/b", ("r.example:5000", "mirror.example/a/b")),
        ("r.example=localhost:5000", ("r.example", "localhost:5000")),
    ],
)
def test_mirrors(text: str, mirror: tuple[str, str]) -> None:
    assert parse_mirror(text) == mirror


@pytest.mark.parametrize(
    "text",
    [
        "docker.io",
        "=x.example",
        "docker.io=",
        "a b=c.example",
        "docker.io=http://x.example",
        "docker.io=x.example/A B",
    ],
)
def test_what_is_no_mirror(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_mirror(text)
    assert repr(text) in caught.value.what
    assert caught.value.why


@pytest.mark.parametrize("text", ["docker.io=me:s3cret@x.example", "docker.io=https://me:s3cret@x.example"])
def test_a_login_in_an_address_is_not_quoted(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_mirror(text)
    assert "s3cret" not in str(caught.value) + caught.value.fix


@pytest.mark.parametrize(
    ("text", "registry"),
    [
        ("registry.example", "registry.example"),
        ("https://registry.example:5000/", "registry.example:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("localhost", "localhost"),
    ],
)
def test_registries(text: str, registry: str) -> None:
    assert parse_registry(text, "REGISTRY") == registry


@pytest.mark.parametrize("text", ["", "a b", "registry.example/team", "me:word@registry.example"])
def test_what_is_no_registry(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_registry(text, "REGISTRY")
    assert "word" not in str(caught.value)
